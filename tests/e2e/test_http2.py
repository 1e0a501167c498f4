"""The AWS SDK for JavaScript as it comes: HTTP/2 by prior knowledge on an http:// endpoint."""

import json
import subprocess
import time

import pytest
from gateway import environment
from script import SCRIPTS
from sdks import DEPS, DRIVERS, NODE

SAID = "one two three"


@pytest.fixture
def aws(gateway):
    def run(scenario: str, model: str) -> dict:
        command = [NODE, DRIVERS / "aws_http2.mjs", f"{gateway.url}/bedrock", scenario, model]
        env = environment(DRIVER_DEPS=str(DEPS / "ts-aws"))
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["carriers"] == ["ClientHttp2Stream"], answer
        return answer

    return run


def test_converse(aws):
    answer = aws("whole", "mock/echo")
    assert (answer["text"], answer["stop"]) == (SAID, "end_turn")


def test_converse_stream(aws):
    answer = aws("stream", "mock/echo")
    assert answer["text"] == SAID
    assert answer["kinds"][0] == "messageStart"
    assert answer["kinds"][-2:] == ["messageStop", "metadata"]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_converse_stream_of_another_dialect(aws, provider):
    assert aws("stream", f"{provider}/text")["text"] == SCRIPTS["text"].text


def test_many_streams_at_once(aws):
    assert aws("parallel", "openai/text")["texts"] == [SCRIPTS["text"].text] * 60


def test_an_abort_cancels_the_upstream(aws, upstream):
    """The clocks of both processes are the machine's."""
    late = []
    for _ in range(3):
        answer = aws("abort", "openai/forever")
        assert answer["left"], "nothing came before the abort"
        (asked,) = upstream.take()
        closed = upstream.wait_closed(asked) + time.time() - time.monotonic()
        late.append(closed - answer["left"])
    assert min(late) < 0.1, late


def test_a_refusal_keeps_its_name(aws):
    answer = aws("refused", "mock/nothing")
    assert answer["error"] == "ResourceNotFoundException", answer
    assert answer["status"] == 404
    assert "mock has no model nothing" in answer["message"]
