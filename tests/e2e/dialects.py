"""Writes a script in the language of an upstream: whole answers, stream frames, errors, lists."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass

from script import Script, Text, Thinking, Tool

MODELS = ("model-one", "model-two")


NUMBERS = itertools.count(1)


def fresh(prefix: str) -> str:
    """An id of its own for each answer: Claude Code joins messages of the same id."""
    return f"{prefix}{next(NUMBERS):06}"


@dataclass(frozen=True)
class Frame:
    """One event of a stream; `is_piece` if it carries a piece of the answer's text."""

    data: bytes
    is_piece: bool = False


def dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Anthropic:
    """Anthropic Messages."""

    name = "anthropic"
    stream_type = "text/event-stream; charset=utf-8"
    STOPS = {"end": "end_turn", "tool": "tool_use", "length": "max_tokens", "sequence": "stop_sequence"}

    @staticmethod
    def usage(script: Script) -> dict:
        usage = script.usage
        return {
            "input_tokens": usage.input,
            "cache_creation_input_tokens": usage.written,
            "cache_read_input_tokens": usage.cached,
            "output_tokens": usage.output,
        }

    @classmethod
    def message(cls, script: Script, model: str) -> dict:
        content = []
        for block in script.blocks:
            match block:
                case Text():
                    content.append({"type": "text", "text": block.whole})
                case Thinking():
                    content.append(
                        {"type": "thinking", "thinking": block.whole, "signature": block.signature}
                    )
                case Tool():
                    content.append(
                        {"type": "tool_use", "id": block.id, "name": block.name, "input": block.input}
                    )
        return {
            "id": fresh("msg_"),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": cls.STOPS[script.stop],
            "stop_sequence": None,
            "usage": cls.usage(script),
            "x_unknown_field": {"kept": True},
        }

    @staticmethod
    def frame(event: dict) -> bytes:
        return f"event: {event['type']}\ndata: {dump(event)}\n\n".encode()

    @classmethod
    def frames(cls, script: Script, model: str, _asked: dict) -> list[Frame]:
        start = cls.message(script, model) | {"content": [], "stop_reason": None}
        start["usage"] = start["usage"] | {"output_tokens": 1}
        events = [{"type": "message_start", "message": start}]
        for index, block in enumerate(script.blocks):
            match block:
                case Text():
                    opened = {"type": "text", "text": ""}
                    deltas = [{"type": "text_delta", "text": piece} for piece in block.pieces]
                case Thinking():
                    opened = {"type": "thinking", "thinking": "", "signature": ""}
                    deltas = [{"type": "thinking_delta", "thinking": p} for p in block.pieces]
                    deltas.append({"type": "signature_delta", "signature": block.signature})
                case Tool():
                    opened = {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}
                    deltas = [{"type": "input_json_delta", "partial_json": p} for p in block.pieces]
            events.append({"type": "content_block_start", "index": index, "content_block": opened})
            if index == 0:
                events.append({"type": "ping"})
            events += [
                {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
            ]
            events.append({"type": "content_block_stop", "index": index})
        events.append(
            {
                "type": "message_delta",
                "delta": {"stop_reason": cls.STOPS[script.stop], "stop_sequence": None},
                "usage": {"output_tokens": script.usage.output},
            }
        )
        events.append({"type": "message_stop"})
        return [
            Frame(cls.frame(event), event.get("delta", {}).get("type") == "text_delta")
            for event in events
        ]

    @staticmethod
    def error(kind: str, message: str) -> dict:
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_up"}

    @classmethod
    def error_frame(cls, kind: str, message: str) -> bytes:
        return cls.frame(cls.error(kind, message))

    @staticmethod
    def models() -> dict:
        data = [
            {"type": "model", "id": m, "display_name": m.title(), "created_at": "2026-01-01T00:00:00Z"}
            for m in MODELS
        ]
        return {"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}

    @classmethod
    def model(cls, name: str) -> dict | None:
        return next((m for m in cls.models()["data"] if m["id"] == name), None)


class OpenAi:
    """OpenAI Chat Completions."""

    name = "openai"
    stream_type = "text/event-stream; charset=utf-8"
    STOPS = {"end": "stop", "tool": "tool_calls", "length": "length", "sequence": "stop"}

    @staticmethod
    def usage(script: Script) -> dict:
        usage = script.usage
        prompt = usage.input + usage.cached + usage.written
        return {
            "prompt_tokens": prompt,
            "completion_tokens": usage.output,
            "total_tokens": prompt + usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        }

    @classmethod
    def message(cls, script: Script, model: str) -> dict:
        message: dict = {"role": "assistant", "content": script.text or None, "refusal": None}
        if script.thinking:
            message["reasoning_content"] = script.thinking.whole
        if script.tools:
            message["tool_calls"] = [
                {
                    "id": tool.id,
                    "type": "function",
                    "function": {"name": tool.name, "arguments": "".join(tool.pieces) or "{}"},
                }
                for tool in script.tools
            ]
        return {
            "id": fresh("chatcmpl-"),
            "object": "chat.completion",
            "created": 1790000000,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "logprobs": None,
                    "finish_reason": cls.STOPS[script.stop],
                }
            ],
            "usage": cls.usage(script),
            "system_fingerprint": "fp_scripted",
            "x_unknown_field": {"kept": True},
        }

    @staticmethod
    def frame(chunk: dict) -> bytes:
        return f"data: {dump(chunk)}\n\n".encode()

    @classmethod
    def frames(cls, script: Script, model: str, asked: dict) -> list[Frame]:
        name = fresh("chatcmpl-")

        def chunk(delta: dict, finish: str | None = None) -> dict:
            return {
                "id": name,
                "object": "chat.completion.chunk",
                "created": 1790000000,
                "model": model,
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }

        chunks = [chunk({"role": "assistant", "content": ""})]
        call = 0
        for block in script.blocks:
            match block:
                case Text():
                    chunks += [chunk({"content": piece}) for piece in block.pieces]
                case Thinking():
                    chunks += [chunk({"reasoning_content": piece}) for piece in block.pieces]
                case Tool():
                    named = {"name": block.name, "arguments": ""}
                    opened = {"index": call, "id": block.id, "type": "function", "function": named}
                    chunks.append(chunk({"tool_calls": [opened]}))
                    chunks += [
                        chunk({"tool_calls": [{"index": call, "function": {"arguments": piece}}]})
                        for piece in block.pieces or ("{}",)
                    ]
                    call += 1
        chunks.append(chunk({}, cls.STOPS[script.stop]))
        if (asked.get("stream_options") or {}).get("include_usage"):
            chunks.append(chunk({}) | {"choices": [], "usage": cls.usage(script)})
        frames = [
            Frame(cls.frame(c), any(choice["delta"].get("content") for choice in c["choices"]))
            for c in chunks
        ]
        return [*frames, Frame(b"data: [DONE]\n\n")]

    @staticmethod
    def error(kind: str, message: str) -> dict:
        return {"error": {"message": message, "type": kind, "param": None, "code": "scripted_code"}}

    @classmethod
    def error_frame(cls, kind: str, message: str) -> bytes:
        return cls.frame(cls.error(kind, message))

    @staticmethod
    def models() -> dict:
        data = [
            {"id": m, "object": "model", "created": 1790000000, "owned_by": "scripted"} for m in MODELS
        ]
        return {"object": "list", "data": data}

    @classmethod
    def model(cls, name: str) -> dict | None:
        return next((m for m in cls.models()["data"] if m["id"] == name), None)
