"""The clouds' servers, played: models of Bedrock, Vertex and Azure, and who gives tokens for them.

`Cloud().route(...)` says what a path answers; every request is recorded as it came. AWS's
signatures are recomputed by botocore in a process of its own (`drivers/sigv4.py`).
"""

from __future__ import annotations

import json
import ssl
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from sdks import DEPS, DRIVERS

PYTHON = DEPS / "py-aws/bin/python"


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass
class Answered:
    status: int
    body: bytes
    headers: dict[str, str]


def said(
    body: object, status: int = 200, kind: str = "application/json", **headers: str
) -> Answered:
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    data = text if isinstance(text, bytes) else text.encode()
    return Answered(status, data, {"content-type": kind} | headers)


def frame(kind: str, payload: object) -> bytes:
    """One event of AWS's event stream."""
    headers = b""
    for name, value in (
        (":event-type", kind),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ):
        headers += bytes([len(name)]) + name.encode() + b"\x07"
        headers += struct.pack(">H", len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


CONVERSED = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4},
    "metrics": {"latencyMs": 1},
}
CONVERSE_STREAM = b"".join(
    (
        frame("messageStart", {"role": "assistant"}),
        frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "hello"}}),
        frame("contentBlockStop", {"contentBlockIndex": 0}),
        frame("messageStop", {"stopReason": "end_turn"}),
        frame("metadata", {"usage": CONVERSED["usage"], "metrics": {"latencyMs": 1}}),
    )
)
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
GENERATED = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "hello"}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
}


def model_answer(asked: Asked) -> Answered | None:
    """What the models say, each in the language of its path."""
    path = asked.target.split("?")[0]
    if path.endswith("/converse"):
        return said(CONVERSED)
    if path.endswith("/converse-stream"):
        return said(CONVERSE_STREAM, kind="application/vnd.amazon.eventstream")
    if path.endswith(("/invoke", "/v1/messages")) or "/anthropic/models/" in path:
        return said(MESSAGE)
    if path.endswith("/chat/completions") or "/mistralai/models/" in path:
        return said(COMPLETION)
    if path.endswith(":generateContent"):
        return said(GENERATED)
    return None


class Cloud:
    """A server for all of them. `with Cloud() as cloud:`"""

    def __init__(self, certificate: tuple[str, str] | None = None) -> None:
        """`certificate`: files of a certificate for `localhost` and its key; then it speaks TLS."""
        self.tls = certificate is not None
        self.asked: list[Asked] = []
        self.routes: list[tuple[str, Callable[[Asked], Answered | dict]]] = []
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(
                    self.command, self.path, headers, self.rfile.read(length), time.monotonic()
                )
                cloud.asked.append(asked)
                answered = cloud.answer(asked)
                self.send_response(answered.status)
                for name, value in answered.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answered.body)))
                self.end_headers()
                self.wfile.write(answered.body)

            do_GET = do_POST = do_PUT = serve

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    @property
    def host(self) -> str:
        name = "localhost" if self.tls else "127.0.0.1"
        return f"{name}:{self.server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def route(self, prefix: str, answer: Callable[[Asked], Answered | dict]) -> None:
        """Paths that begin so are answered by this; the last one that was said counts."""
        self.routes.insert(0, (prefix, answer))

    def answer(self, asked: Asked) -> Answered:
        for prefix, answer in self.routes:
            if asked.target.startswith(prefix):
                found = answer(asked)
                return found if isinstance(found, Answered) else said(found)
        return model_answer(asked) or said({"message": f"no {asked.target} here"}, 404)

    def calls(self, prefix: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.target.startswith(prefix)]

    def __enter__(self) -> "Cloud":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def resigned(asked: Asked, host: str, secret: str) -> str:
    """The `authorization` that botocore computes for a request as it arrived."""
    given = {
        "method": asked.method,
        "url": f"http://{host}{asked.target}",
        "headers": asked.headers,
        "body": asked.body.decode("latin-1"),
        "secret": secret,
    }
    done = subprocess.run(
        [PYTHON, DRIVERS / "sigv4.py"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()
