"""Writes a script as AWS Bedrock says it: Converse, or Claude's own events inside InvokeModel."""

from __future__ import annotations

import base64
import json
import struct
import zlib

from dialects import MODELS, Anthropic, Frame, dump
from script import Script, Text, Thinking, Tool

EXCEPTIONS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    413: "ValidationException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    529: "ServiceUnavailableException",
}


def event(kind: str, payload: object, message_type: str = "event") -> bytes:
    """One frame of an event stream, with both its checksums."""
    data = dump(payload).encode()
    headers = b""
    type_name = ":event-type" if message_type == "event" else ":exception-type"
    for name, value in (
        (type_name, kind),
        (":content-type", "application/json"),
        (":message-type", message_type),
    ):
        headers += bytes([len(name)]) + name.encode() + b"\x07"
        headers += struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(data), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + data
    return message + struct.pack(">I", zlib.crc32(message))


class Bedrock:
    """Converse and ConverseStream."""

    name = "bedrock"
    stream_type = "application/vnd.amazon.eventstream"
    STOPS = {"end": "end_turn", "tool": "tool_use", "length": "max_tokens", "sequence": "stop_sequence"}

    @staticmethod
    def usage(script: Script) -> dict:
        usage = script.usage
        return {
            "inputTokens": usage.input,
            "outputTokens": usage.output,
            "totalTokens": usage.input + usage.cached + usage.written + usage.output,
            "cacheReadInputTokens": usage.cached,
            "cacheWriteInputTokens": usage.written,
        }

    @classmethod
    def message(cls, script: Script, _model: str) -> dict:
        content: list[dict] = []
        for block in script.blocks:
            match block:
                case Text():
                    content.append({"text": block.whole})
                case Thinking():
                    said = {"text": block.whole, "signature": block.signature}
                    content.append({"reasoningContent": {"reasoningText": said}})
                case Tool():
                    use = {"toolUseId": block.id, "name": block.name, "input": block.input}
                    content.append({"toolUse": use})
        return {
            "metrics": {"latencyMs": 321},
            "output": {"message": {"content": content, "role": "assistant"}},
            "stopReason": cls.STOPS[script.stop],
            "usage": cls.usage(script),
        }

    @classmethod
    def frames(cls, script: Script, _model: str, _asked: dict) -> list[Frame]:
        frames = [Frame(event("messageStart", {"p": "abcd", "role": "assistant"}))]
        for index, block in enumerate(script.blocks):
            at = {"contentBlockIndex": index}
            match block:
                case Text():
                    deltas = [{"text": piece} for piece in block.pieces]
                case Thinking():
                    deltas = [{"reasoningContent": {"text": piece}} for piece in block.pieces]
                    deltas.append({"reasoningContent": {"signature": block.signature}})
                case Tool():
                    use = {"toolUse": {"name": block.name, "toolUseId": block.id}}
                    frames.append(Frame(event("contentBlockStart", at | {"start": use})))
                    deltas = [{"toolUse": {"input": piece}} for piece in block.pieces]
            for delta in deltas:
                said = event("contentBlockDelta", at | {"delta": delta, "p": "abcdefg"})
                frames.append(Frame(said, "text" in delta))
            frames.append(Frame(event("contentBlockStop", at)))
        frames.append(Frame(event("messageStop", {"stopReason": cls.STOPS[script.stop]})))
        metadata = {"metrics": {"latencyMs": 321}, "usage": cls.usage(script)}
        return [*frames, Frame(event("metadata", metadata))]

    @staticmethod
    def error(_kind: str, message: str) -> dict:
        return {"message": message}

    @staticmethod
    def error_headers(status: int) -> list[tuple[str, str]]:
        return [("x-amzn-errortype", f"{EXCEPTIONS.get(status, 'ValidationException')}:http://aws/")]

    @staticmethod
    def error_frame(kind: str, message: str) -> bytes:
        named = {"overloaded_error": "serviceUnavailableException"}.get(kind, "validationException")
        return event(named, {"message": message}, "exception")

    @staticmethod
    def foundation_models() -> list[dict]:
        return [
            {
                "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{name}",
                "modelId": name,
                "modelName": name.title(),
                "providerName": "Scripted",
                "inputModalities": ["TEXT"],
                "outputModalities": ["TEXT"],
                "responseStreamingSupported": True,
                "inferenceTypesSupported": ["ON_DEMAND"],
                "modelLifecycle": {"status": "ACTIVE"},
            }
            for name in MODELS
        ]

    @staticmethod
    def inference_profiles() -> list[dict]:
        name = "us.anthropic.claude-text"
        arn = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{name}"
        model = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-text"
        return [
            {
                "inferenceProfileArn": arn,
                "inferenceProfileId": name,
                "inferenceProfileName": "US Claude Text",
                "models": [{"modelArn": model}],
                "status": "ACTIVE",
                "type": "SYSTEM_DEFINED",
            }
        ]


class Invoke(Bedrock):
    """InvokeModel of Claude: Messages whole, and each of their events as bytes in a `chunk`."""

    name = "invoke"
    message = Anthropic.message

    @staticmethod
    def frames(script: Script, model: str, asked: dict) -> list[Frame]:
        frames = []
        for frame in Anthropic.frames(script, model, asked):
            data = frame.data.split(b"data: ", 1)[1].strip()
            if json.loads(data)["type"] == "ping":
                continue
            chunk = {"bytes": base64.b64encode(data).decode(), "p": "abcdefghijkl"}
            frames.append(Frame(event("chunk", chunk), frame.is_piece))
        return frames
