"""Every SDK reads every kind of answer, from upstreams of every language, streamed and not."""

import pytest
from answers import plain
from conftest import OWN
from script import SCRIPTS, Script
from sdks import Sdk, ask

ANSWERS = ["text", "tool", "parallel-tools", "empty-args", "thinking", "cached", "long", "bytewise"]
FRAMINGS = ["length-framed", "close-framed"]


def expected(script: Script) -> dict:
    said = script.thinking
    return {
        "text": script.text,
        "thinking": said.whole if said else "",
        "signature": said.signature if said else "",
        "tools": [(t.id, t.name, t.input) for t in script.tools],
        "stop": script.stop,
        "input": script.usage.input,
        "cached": script.usage.cached,
        "output": script.usage.output,
    }


def same(sdk: Sdk, spoken: str, got: dict, script: Script, streamed: bool) -> None:
    """Compares, without what a language cannot say."""
    wanted = expected(script)
    if OWN[sdk.dialect][0] != spoken or sdk.dialect in ("openai", "azure"):
        # a seal is of one vendor and says nothing to another
        wanted["signature"] = got["signature"]
    if streamed and sdk.name.startswith(("openai-ts", "azure-ts")) and wanted["thinking"]:
        # its accumulator keeps only the last piece of a field that it does not know
        assert wanted["thinking"].endswith(got["thinking"])
        got["thinking"] = wanted["thinking"]
    if "gemini" in (sdk.dialect, spoken):
        # calls need no id there
        ids = [call[0] for call in got["tools"]]
        assert sdk.dialect == "gemini" or len(set(filter(None, ids))) == len(ids)
        for side in (got, wanted):
            side["tools"] = [call[1:] for call in side["tools"]]
    assert got == {name: list(v) if name == "tools" else v for name, v in wanted.items()}


@pytest.mark.parametrize("call", ["create", "stream"])
@pytest.mark.parametrize("name", ANSWERS + FRAMINGS)
def test_answer(drive, any_sdk, placed, spoken, name, call):
    script = SCRIPTS[name]
    answer = drive(any_sdk).call(call, ask(any_sdk, placed(any_sdk, name)))
    assert "error" not in answer, answer
    same(any_sdk, spoken, plain(any_sdk, answer["message"]), script, call == "stream")
    if call == "stream" and script.stop != "length":
        assert answer["text"] == script.text


@pytest.mark.parametrize("name", ["text", "tool", "parallel-tools", "thinking"])
def test_streamed_equals_whole(drive, any_sdk, placed, name):
    """The final message of a stream is the message of a call without one."""
    asked = ask(any_sdk, placed(any_sdk, name))
    whole = drive(any_sdk).call("create", asked)["message"]
    streamed = drive(any_sdk).call("stream", asked)["message"]
    if any_sdk.name.startswith(("openai-ts", "azure-ts")):
        for message in (whole, streamed):
            message["choices"][0]["message"].pop("reasoning_content", None)
    whole, streamed = plain(any_sdk, whole), plain(any_sdk, streamed)
    for message in (whole, streamed):
        # an id that had to be invented is another one each time, and a seal may hold one
        message["tools"] = [call[1:] for call in message["tools"]]
        message["signature"] = bool(message["signature"])
    assert streamed == whole


def test_model_is_named(drive, sdk, model):
    answer = drive(sdk).call("create", ask(sdk, model(sdk, "text")))
    assert answer["message"]["model"] == "text"


@pytest.mark.parametrize("call", ["create", "stream"])
def test_mock(drive, any_sdk, gateway, call):
    """The provider that needs no network speaks every language."""
    answer = drive(any_sdk).call(call, ask(any_sdk, "mock/echo"))
    assert "error" not in answer, answer
    assert plain(any_sdk, answer["message"])["text"] == "hi"
