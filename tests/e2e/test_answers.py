"""Every SDK reads every kind of answer, from either upstream, streamed and not."""

import pytest
from script import SCRIPTS, Script
from sdks import ask, plain

ANSWERS = ["text", "tool", "parallel-tools", "empty-args", "thinking", "cached", "long", "bytewise"]
FRAMINGS = ["length-framed", "close-framed"]


def expected(script: Script, thinking: str, signature: str) -> dict:
    return {
        "text": script.text,
        "thinking": thinking,
        "signature": signature,
        "tools": [(t.id, t.name, t.input) for t in script.tools],
        "stop": script.stop,
        "input": script.usage.input,
        "cached": script.usage.cached,
        "output": script.usage.output,
    }


@pytest.mark.parametrize("call", ["create", "stream"])
@pytest.mark.parametrize("name", ANSWERS + FRAMINGS)
def test_answer(drive, sdk, model, direction, name, call):
    script = SCRIPTS[name]
    answer = drive(sdk).call(call, ask(sdk, model(sdk, name)))
    assert "error" not in answer, answer
    got = plain(sdk, answer["message"])
    said = script.thinking
    if sdk.name.startswith("openai-ts") and call == "stream" and said:
        # its accumulator keeps only the last piece of a field that it does not know
        got["thinking"] = said.whole if said.whole.endswith(got["thinking"]) else got["thinking"]
    signed = said.signature if said and sdk.dialect == "anthropic" and direction == "same" else ""
    if direction == "across" and said and not got["signature"]:
        signed = ""
    assert got == expected(script, said.whole if said else "", signed)
    if call == "stream" and script.stop != "length":
        assert answer["text"] == script.text


@pytest.mark.parametrize("name", ["text", "tool", "parallel-tools", "thinking"])
def test_streamed_equals_whole(drive, sdk, model, name):
    """The final message of a stream is the message of a call without one."""
    asked = ask(sdk, model(sdk, name))
    whole = drive(sdk).call("create", asked)["message"]
    streamed = drive(sdk).call("stream", asked)["message"]
    if sdk.name.startswith("openai-ts"):
        for message in (whole, streamed):
            message["choices"][0]["message"].pop("reasoning_content", None)
    assert plain(sdk, streamed) == plain(sdk, whole)


def test_model_is_named(drive, sdk, model):
    answer = drive(sdk).call("create", ask(sdk, model(sdk, "text")))
    assert answer["message"]["model"] == "text"
