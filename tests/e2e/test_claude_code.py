"""The real Claude Code, led through a session of several turns with tools."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import DIRECT
from script import SCRIPTS
from sdks import DEPS

VERSIONS = {"2.1.328": "claude-new", "2.1.143": "claude-old"}
WRITTEN = 'line one\nline two ünïcode "quoted"\n'


@pytest.fixture(params=VERSIONS)
def claude(request, upstream, tmp_path: Path):
    """Runs Claude Code headless in an empty home; gives its events."""
    if DIRECT:
        base = upstream.url
    else:
        base = request.getfixturevalue("gateway").url + "/anthropic"
    package = DEPS / VERSIONS[request.param] / "node_modules/@anthropic-ai/claude-code-linux-x64"
    home = tmp_path / "home"
    home.mkdir()

    def run(model: str, prompt: str = "Do what you are told.", **environment: str) -> list[dict]:
        command = [package / "claude", "-p", prompt, "--model", model, "--verbose"]
        command += ["--output-format", "stream-json", "--allowedTools", "Bash,Write,Read"]
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "SHELL": "/bin/bash",
            "TERM": "dumb",
            "ANTHROPIC_BASE_URL": base,
            "ANTHROPIC_AUTH_TOKEN": "dummy-key",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "CLAUDE_CODE_MAX_RETRIES": "0",
        }
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=variables | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return events

    return run


def results(events: list[dict]) -> list[str]:
    """The tool results that Claude Code produced, in order, as text."""
    found = []
    for event in events:
        if event["type"] == "user":
            for block in event["message"]["content"]:
                if block["type"] == "tool_result":
                    content = block["content"]
                    found.append(content if isinstance(content, str) else content[0]["text"])
    return found


def check_session(events: list[dict], folder: Path) -> None:
    final = events[-1]
    assert (final["type"], final["is_error"], final["result"]) == ("result", False, "All done.")
    assert (folder / "a.txt").read_text() == WRITTEN
    ran, wrote, read, counted = results(events)
    assert ran == "mock-42"
    assert "a.txt" in wrote
    assert "line two ünïcode" in read
    assert counted.strip() == "2"


def test_tools_at_an_anthropic_upstream(claude, upstream, tmp_path):
    events = claude("agent")
    check_session(events, tmp_path)
    asked = [r for r in upstream.take() if r.method == "POST"]
    assert len(asked) == len(SCRIPTS["agent"].turns)
    for request in asked:
        assert request.path.endswith("/v1/messages")
        assert request.header("anthropic-beta"), "the betas of Claude Code go with its body"
        assert request.json["thinking"], "nothing of the body is lost"


@pytest.mark.skipif(DIRECT, reason="needs the gateway")
def test_tools_at_an_openai_upstream(claude, upstream, tmp_path):
    events = claude("openai/agent")
    check_session(events, tmp_path)
    asked = [r for r in upstream.take() if r.method == "POST"]
    assert len(asked) == len(SCRIPTS["agent"].turns)
    last = asked[-1].json
    assert asked[-1].path.endswith("/chat/completions")
    assert {tool["function"]["name"] for tool in last["tools"]} >= {"Bash", "Write", "Read"}
    calls = [c for m in last["messages"] for c in m.get("tool_calls") or ()]
    answers = [m for m in last["messages"] if m["role"] == "tool"]
    assert [c["id"] for c in calls] == [m["tool_call_id"] for m in answers]
    assert len(calls) == 4


@pytest.mark.skipif(DIRECT, reason="needs the gateway")
def test_the_mock_provider(claude):
    final = claude("mock/echo", "Please say pineapple.")[-1]
    assert final["is_error"] is False
    assert "pineapple" in final["result"]


@pytest.mark.skipif(DIRECT, reason="needs the gateway")
@pytest.mark.parametrize("model", ["thinking", "openai/thinking"])
def test_thinking(claude, model):
    assert claude(model)[-1]["result"] == SCRIPTS["thinking"].text


def test_overloaded_is_shown(claude, upstream):
    """An error keeps its words all the way to the user."""
    with pytest.raises(AssertionError, match="not for you"):
        claude("fail-403")
