"""A scripted upstream: an HTTP/1.1 server that answers in the language it is asked in.

The model's name chooses the script (`script.SCRIPTS`, or one that the test registered). Every
request is recorded: head as sent, exact body bytes, the bytes answered, and when the caller hung
up. Runs in a thread of the test, or alone (`python upstream.py --port 9000`), where
`GET /__upstream/requests` lists what was recorded and `DELETE` forgets it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, field, replace
from urllib.parse import unquote, urlsplit

import beside_chats
from dialects import Anthropic, OpenAi, dump
from script import SCRIPTS, Script, Text, Tool
from upstream_bedrock import Bedrock, Invoke
from upstream_gemini import Gemini
from upstream_responses import Responses

STALL_S = 30.0
Dialect = type[Anthropic] | type[OpenAi] | type[Bedrock] | type[Gemini] | type[Responses]
# What a real region is followed by, and a version, in the names of Bedrock's models.
VERSION = re.compile(r"-v\d+(:\d+)?$")


@dataclass
class Recorded:
    """One request as it arrived; times are `time.monotonic()`."""

    connection: int
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    at: float
    answer: bytearray = field(default_factory=bytearray)
    answered_at: float | None = None
    closed_at: float | None = None

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        values = [v for n, v in self.headers if n.lower() == name.lower()]
        return ", ".join(values) if values else None

    def export(self) -> dict:
        return {
            "connection": self.connection,
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "body": base64.b64encode(self.body).decode(),
            "at": self.at,
            "answered_at": self.answered_at,
            "closed_at": self.closed_at,
        }


class Gone(Exception):
    """The caller closed its connection."""


class Connection(asyncio.Protocol):
    """Bytes in, bytes out, and the moment at which the caller left."""

    def __init__(self, upstream: "Upstream", number: int) -> None:
        self.upstream = upstream
        self.number = number
        self.buffer = bytearray()
        self.arrived = asyncio.Event()
        self.gone = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.current: Recorded | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.task = asyncio.get_running_loop().create_task(self.serve())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.arrived.set()

    def eof_received(self) -> bool:
        self.left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.left()

    def left(self) -> None:
        if not self.gone.is_set():
            if self.current and self.current.answered_at is None:
                self.current.closed_at = time.monotonic()
            self.gone.set()
            self.arrived.set()
            self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    async def more(self) -> None:
        if self.gone.is_set():
            raise Gone
        self.arrived.clear()
        await self.arrived.wait()

    async def write(self, data: bytes) -> None:
        if self.gone.is_set():
            raise Gone
        await self.writable.wait()
        self.transport.write(data)
        if self.current:
            self.current.answer += data

    async def sleep(self, seconds: float) -> None:
        """Waits, unless the caller leaves first."""
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return
        raise Gone

    def reset(self) -> None:
        """Closes with RST."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def serve(self) -> None:
        try:
            while await self.exchange():
                pass
        except (Gone, asyncio.CancelledError):
            pass
        finally:
            self.transport.close()

    async def exchange(self) -> bool:
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            await self.more()
        lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        del self.buffer[: end + 4]
        method, target, _version = lines[0].split(" ")
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
        body = await self.body({name.lower(): value for name, value in headers})
        recorded = Recorded(self.number, method, target, headers, body, time.monotonic())
        if recorded.path.startswith("/__upstream/"):
            await self.control(recorded)
            return True
        self.current = recorded
        self.upstream.requests.append(recorded)
        keep = await self.answer(recorded)
        recorded.answered_at = time.monotonic()
        return keep

    async def body(self, headers: dict[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", ""):
            return await self.chunked_body()
        length = int(headers.get("content-length", "0"))
        while len(self.buffer) < length:
            await self.more()
        body = bytes(self.buffer[:length])
        del self.buffer[:length]
        return body

    async def chunked_body(self) -> bytes:
        body = bytearray()
        while True:
            while (end := self.buffer.find(b"\r\n")) < 0:
                await self.more()
            size = int(bytes(self.buffer[:end]).split(b";")[0], 16)
            while len(self.buffer) < end + size + 4:
                await self.more()
            body += self.buffer[end + 2 : end + 2 + size]
            del self.buffer[: end + size + 4]
            if size == 0:
                return bytes(body)

    async def control(self, asked: Recorded) -> None:
        if asked.method == "DELETE":
            self.upstream.requests.clear()
        listed = [recorded.export() for recorded in self.upstream.requests]
        await self.whole(200, [], "application/json", dump(listed).encode())

    async def whole(
        self,
        status: int,
        headers: list[tuple[str, str]],
        content_type: str,
        body: bytes,
        framing: str = "length",
        slice: int = 0,
    ) -> None:
        await self.head(status, [*headers, ("content-type", content_type)], framing, len(body))
        await self.piece(body, framing, slice)
        if framing == "chunked":
            await self.write(b"0\r\n\r\n")

    async def head(
        self, status: int, headers: list[tuple[str, str]], framing: str, length: int
    ) -> None:
        framed = {
            "length": f"content-length: {length}\r\n",
            "chunked": "transfer-encoding: chunked\r\n",
            "close": "connection: close\r\n",
        }[framing]
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        await self.write(f"HTTP/1.1 {status} Scripted\r\n{fields}{framed}\r\n".encode())

    async def piece(self, data: bytes, framing: str, slice: int) -> None:
        """One frame: in one write, or in writes of `slice` bytes."""
        size = slice or len(data)
        for start in range(0, len(data), size or 1):
            part = data[start : start + size]
            if framing == "chunked":
                part = f"{len(part):x}\r\n".encode() + part + b"\r\n"
            await self.write(part)
            if slice:
                await asyncio.sleep(0)

    async def answer(self, asked: Recorded) -> bool:
        path = asked.path.rstrip("/")
        if "/model/" in path or path.endswith(("/foundation-models", "/inference-profiles")):
            return await self.bedrock(asked, path)
        if ":" in path.rsplit("/", 1)[-1]:
            return await self.gemini(asked, path)
        dialect = Anthropic if asked.header("anthropic-version") else OpenAi
        common = [("request-id" if dialect is Anthropic else "x-request-id", "req_upstream")]
        if asked.method == "GET" and "/models" in path:
            await self.models(Gemini if "/v1beta/" in path else dialect, path, common)
            return True
        if path.endswith("/count_tokens") or path.endswith("/input_tokens"):
            await self.whole(200, common, "application/json", b'{"input_tokens":4711}')
            return True
        claude = dialect is Anthropic
        if fixed := beside_chats.answer(asked.method, path, claude, asked.body):
            await self.whole(200, common, *fixed)
            return True
        ends = {"/messages": Anthropic, "/chat/completions": OpenAi, "/responses": Responses}
        found = next((spoken for end, spoken in ends.items() if path.endswith(end)), None)
        if found is None:
            error = dialect.error("not_found_error", f"the upstream has no {path}")
            await self.whole(404, common, "application/json", dump(error).encode())
            return True
        body = asked.json
        model = body.get("model") or unquote(path.split("/")[-3])
        return await self.chat(found, body, (model, bool(body.get("stream"))), common)

    async def gemini(self, asked: Recorded, path: str) -> bool:
        model, verb = path.rsplit("/", 1)[-1].rsplit(":", 1)
        common = [("x-gemini-service-tier", "standard")]
        if verb == "countTokens":
            await self.whole(200, common, "application/json", b'{"totalTokens":4711}')
            return True
        called = (unquote(model), verb == "streamGenerateContent")
        return await self.chat(Gemini, asked.json, called, common)

    async def bedrock(self, asked: Recorded, path: str) -> bool:
        common = [("x-amzn-requestid", "req_upstream")]
        if path.endswith("/foundation-models"):
            body: object = {"modelSummaries": Bedrock.foundation_models()}
        elif path.endswith("/inference-profiles"):
            body = {"inferenceProfileSummaries": Bedrock.inference_profiles()}
        elif path.endswith("/count-tokens"):
            body = {"inputTokens": 4711}
        else:
            model, verb = path.rsplit("/model/", 1)[1].rsplit("/", 1)
            dialect = Invoke if verb.startswith("invoke") else Bedrock
            called = (unquote(model), verb.endswith("-stream"))
            return await self.chat(dialect, asked.json, called, common)
        await self.whole(200, common, "application/json", dump(body).encode())
        return True

    async def models(self, dialect: Dialect, path: str, headers: list[tuple[str, str]]) -> None:
        name = unquote(path.rsplit("/models", 1)[1]).lstrip("/")
        found = dialect.model(name) if name else dialect.models()
        status = 200 if found else 404
        found = found or dialect.error("not_found_error", f"no model {name}")
        await self.whole(status, headers, "application/json", dump(found).encode())

    async def chat(
        self,
        dialect: Dialect,
        body: dict,
        called: tuple[str, bool],
        headers: list[tuple[str, str]],
    ) -> bool:
        """Answers with the script that `called` (model, whether to stream) names."""
        model, streamed = called
        script = self.upstream.script_for(model, body)
        headers = [*headers, *script.headers]
        if script.head_delay_s:
            await self.sleep(script.head_delay_s)
        if script.fault == "cut" and script.after < 0:
            return False
        if script.body is not None:
            kind = script.content_type or "application/json"
            await self.whole(script.status, headers, kind, script.body, script.framing, script.slice)
        elif script.status != 200:
            kind, message = script.error
            if dialect is Gemini:
                error = Gemini.error_of(script.status, message)
            else:
                error = dialect.error(kind, message)
            if issubclass(dialect, Bedrock):
                headers += Bedrock.error_headers(script.status)
            await self.whole(script.status, headers, "application/json", dump(error).encode())
        elif streamed:
            return await self.stream(dialect, script, headers, (model, body))
        else:
            message = dump(dialect.message(script, model)).encode()
            if script.fault in ("cut", "rst"):
                await self.head(200, headers, "length", len(message))
                await self.write(message[: len(message) // 2])
                return self.end_badly(script)
            await self.whole(
                200, headers, "application/json", message, script.framing, script.slice
            )
        return script.framing != "close"

    def end_badly(self, script: Script) -> bool:
        if script.fault == "rst":
            self.reset()
        return False

    async def stream(
        self,
        dialect: Dialect,
        script: Script,
        headers: list[tuple[str, str]],
        asked: tuple[str, dict],
    ) -> bool:
        frames = dialect.frames(script, *asked)
        kind = ("content-type", script.content_type or dialect.stream_type)
        length = sum(len(frame.data) for frame in frames)
        await self.head(200, [*headers, kind], script.framing, length)
        pieces = 0
        for frame in frames:
            if script.fault and frame.is_piece and pieces == script.after:
                # what was written leaves by itself: else it may arrive together with the fault
                await self.sleep(self.upstream.stall_s if script.fault == "stall" else 0.05)
                match script.fault:
                    case "cut" | "rst":
                        return self.end_badly(script)
                    case "error":
                        error = dialect.error_frame(*script.error)
                        await self.piece(error, script.framing, script.slice)
                        break
                    case "clean_end":
                        break
            pieces += frame.is_piece
            await self.piece(frame.data, script.framing, script.slice)
            if script.pace_s:
                await self.sleep(script.pace_s)
        if script.framing == "chunked":
            await self.write(b"0\r\n\r\n")
        return script.framing != "close"


class Upstream:
    """The server and its memory. `with Upstream() as upstream:` runs it in a thread."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.requests: list[Recorded] = []
        self.scripts: dict[str, Script] = {}
        self.work = "/tmp"
        self.stall_s = STALL_S
        self.numbers = itertools.count(1)
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script_for(self, model: str, body: dict) -> Script:
        # `us.anthropic.claude.text-v1:0` and an ARN that ends so mean `text`
        name = VERSION.sub("", model.rsplit("/", 1)[-1])
        name = name.rsplit(".", 1)[-1] if ".claude." in name else name
        script = self.scripts.get(name) or SCRIPTS.get(name)
        if script is None and name.startswith(("claude", "gpt", "model-")):
            script = SCRIPTS["text"]
        if script is None:
            return Script(status=404, error=("not_found_error", f"no script {model}"))
        if script.turns:
            said = body.get("messages") or body.get("contents") or ()
            spoken = sum(m.get("role") in ("assistant", "model") for m in said)
            spoken = spoken or Responses.turns(body)
            script = script.turns[min(spoken, len(script.turns) - 1)]
        return replace(script, blocks=tuple(map(self.localised, script.blocks)))

    def localised(self, block: object) -> object:
        """Puts the test's own folder where a script says @WORK@."""
        if isinstance(block, (Tool, Text)):
            return replace(block, pieces=tuple(p.replace("@WORK@", self.work) for p in block.pieces))
        return block

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(
            lambda: Connection(self, next(self.numbers)), "127.0.0.1", self.port
        )
        self.port = self.server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.server.serve_forever()

    def __enter__(self) -> "Upstream":
        def body() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                self.loop.run_until_complete(self.run())
            left = asyncio.all_tasks(self.loop)
            if left:
                self.loop.run_until_complete(asyncio.wait(left))

        self.thread = threading.Thread(target=body, daemon=True)
        self.thread.start()
        if not self.ready.wait(10):
            raise RuntimeError("the scripted upstream did not start")
        return self

    def __exit__(self, *_exc: object) -> None:
        def stop() -> None:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()

        self.loop.call_soon_threadsafe(stop)
        self.thread.join(5)

    def take(self) -> list[Recorded]:
        """What was recorded since the last call."""
        taken, self.requests = self.requests, []
        return taken

    def take_one(self, patience_s: float = 2.0) -> Recorded:
        """The only request since the last call, once its answer is complete."""
        taken = self.take()
        until = time.monotonic() + patience_s
        while any(r.answered_at is None for r in taken) and time.monotonic() < until:
            time.sleep(0.001)
        if len(taken) != 1:
            raise AssertionError(f"expected one upstream request, got {[r.target for r in taken]}")
        return taken[0]

    @staticmethod
    def wait_closed(recorded: Recorded, timeout_s: float = 2.0) -> float:
        """When the caller hung up on this request; fails where it does not."""
        until = time.monotonic() + timeout_s
        while recorded.closed_at is None:
            if time.monotonic() > until:
                raise AssertionError("the upstream's connection was not closed")
            time.sleep(0.002)
        return recorded.closed_at


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9000)
    asyncio.run(Upstream(parser.parse_args().port).run())
