"""Starts the gateway under test, and speaks raw HTTP to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("FINOPS_GATEWAY", ROOT / "target/check-run/finops-gateway"))
START_S = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**extra: str) -> dict[str, str]:
    """Ours, without what would configure a provider or a proxy."""
    kept = {n: v for n, v in os.environ.items() if not n.endswith(("_API_KEY", "_PROXY", "_proxy"))}
    return kept | extra


def config(upstream: str) -> dict:
    """Providers at the scripted upstream; quick heartbeats."""

    def provider(key: str, of_key: dict | None = None, **more: object) -> dict:
        own = {"name": f"{key}-1", "value": key, "models": ["*"], "weight": 1.0} | (of_key or {})
        return {"keys": [own], "network_config": {"base_url": f"{upstream}/base"}} | more

    return {
        "version": 2,
        "client": {"heartbeat_interval_in_seconds": 1},
        "providers": {
            "anthropic": provider("sk-ant-scripted"),
            "openai": provider("sk-scripted"),
            "gemini": provider("sk-gemini"),
            "bedrock": provider("sk-bedrock", {"bedrock_key_config": {"region": "us-east-1"}}),
            "azure": provider("sk-azure", {"azure_key_config": {"endpoint": f"{upstream}/base"}}),
            "acme": provider("sk-acme", custom_provider_config={"base_provider_type": "openai"}),
            "acme-responses": provider(
                "sk-acme-responses",
                custom_provider_config={
                    "base_provider_type": "openai",
                    "allowed_requests": {"responses": True, "responses_stream": True},
                },
            ),
            "acme-claude": provider(
                "sk-acme-claude", custom_provider_config={"base_provider_type": "anthropic"}
            ),
        },
    }


class Gateway:
    """A running gateway. `with Gateway(config, folder) as gateway:`"""

    def __init__(
        self, settings: dict | None, folder: Path, *arguments: str, env: dict[str, str] | None = None
    ) -> None:
        self.env = {"HOME": str(folder)} | (env or {})
        self.port = free_port()
        self.folder = folder
        self.arguments = arguments
        if settings is not None:
            (folder / "config.json").write_text(json.dumps(settings, indent=1))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Gateway":
        self.log = open(self.folder / "gateway.log", "wb")
        command = [BINARY, *self.arguments, "--app-dir", self.folder, "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, env=environment(**self.env)
        )
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.01)
        self.process.kill()
        raise RuntimeError(f"the gateway did not start:\n{self.logged()}")

    def waits(self) -> str:
        """What each thread waits for, and how many sockets are open."""
        process = Path(f"/proc/{self.process.pid}")
        threads = [f"{(t / 'comm').read_text().strip()}: {(t / 'wchan').read_text()}" for t in (process / "task").iterdir()]
        files = [os.readlink(file) for file in (process / "fd").iterdir()]
        return f"{', '.join(threads)}; {sum('socket' in file for file in files)} sockets"

    def __exit__(self, *_exc: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(15)
        except subprocess.TimeoutExpired:
            waits = self.waits()
            self.process.kill()
            raise AssertionError(f"SIGTERM did not end the gateway, {waits}:\n{self.logged()}") from None
        finally:
            self.log.close()
        assert code == 0, f"the gateway ended with {code}:\n{self.logged()}"

    def logged(self) -> str:
        return (self.folder / "gateway.log").read_text(errors="replace")[-4000:]

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> "Answer":
        if not isinstance(body, bytes):
            body = json.dumps(body, ensure_ascii=False).encode()
        return self.ask("POST", path, body, {"content-type": "application/json"} | (headers or {}))

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> "Answer":
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, headers or {})
        return Answer(connection)


class Answer:
    """A response, whole (`body`, `json`) or piece by piece (`pieces`)."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection
        self.response = connection.getresponse()
        self.status = self.response.status
        self.headers = {name.lower(): value for name, value in self.response.getheaders()}

    @property
    def body(self) -> bytes:
        return self.response.read()

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    def pieces(self):
        """(seconds since the first read, bytes) as they arrive."""
        begun = time.monotonic()
        while data := self.response.read1(65536):
            yield time.monotonic() - begun, data

    def hang_up(self) -> float:
        """Closes the connection, now; returns when."""
        self.response.close()
        self.connection.close()
        return time.monotonic()
