"""Writes a script as Google's Gemini API says it."""

from __future__ import annotations

from dialects import MODELS, Frame, dump, fresh
from script import Script, Text, Thinking, Tool

STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}


class Gemini:
    """generateContent and streamGenerateContent."""

    name = "gemini"
    stream_type = "text/event-stream"
    STOPS = {"end": "STOP", "tool": "STOP", "length": "MAX_TOKENS", "sequence": "STOP"}

    @staticmethod
    def usage(script: Script) -> dict:
        usage = script.usage
        prompt = usage.input + usage.cached + usage.written
        counts = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": usage.output - usage.reasoning,
            "totalTokenCount": prompt + usage.output,
        }
        if usage.cached:
            counts["cachedContentTokenCount"] = usage.cached
        if usage.reasoning:
            counts["thoughtsTokenCount"] = usage.reasoning
        return counts

    @staticmethod
    def call(tool: Tool) -> dict:
        return {"functionCall": {"name": tool.name, "args": tool.input}}

    @classmethod
    def answer(cls, parts: list[dict], script: Script, model: str, last: bool) -> dict:
        candidate: dict = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if last:
            candidate["finishReason"] = cls.STOPS[script.stop]
        return {
            "candidates": [candidate],
            "usageMetadata": cls.usage(script),
            "modelVersion": model,
            "responseId": fresh("gem_"),
        }

    @classmethod
    def message(cls, script: Script, model: str) -> dict:
        parts: list[dict] = []
        signature = ""
        for block in script.blocks:
            match block:
                case Text():
                    part = {"text": block.whole}
                case Thinking():
                    parts.append({"text": block.whole, "thought": True})
                    signature = block.signature
                    continue
                case Tool():
                    part = cls.call(block)
            if signature:
                part["thoughtSignature"] = signature
                signature = ""
            parts.append(part)
        return cls.answer(parts, script, model, True)

    @classmethod
    def frames(cls, script: Script, model: str, _asked: dict) -> list[Frame]:
        pieces: list[tuple[dict, bool]] = []
        signature = ""
        for block in script.blocks:
            match block:
                case Text():
                    said = [({"text": piece}, True) for piece in block.pieces]
                case Thinking():
                    pieces += [({"text": p, "thought": True}, False) for p in block.pieces]
                    signature = block.signature
                    continue
                case Tool():
                    said = [(cls.call(block), False)]
            if signature:
                said[0][0]["thoughtSignature"] = signature
                signature = ""
            pieces += said
        last = len(pieces) - 1
        return [
            Frame(f"data: {dump(cls.answer([part], script, model, at == last))}\r\n\r\n".encode(), text)
            for at, (part, text) in enumerate(pieces)
        ]

    @staticmethod
    def error(kind: str, message: str) -> dict:
        status = {"overloaded_error": 503, "not_found_error": 404}.get(kind, 400)
        return {"error": {"code": status, "message": message, "status": STATUS[status]}}

    @staticmethod
    def error_of(status: int, message: str) -> dict:
        return {"error": {"code": status, "message": message, "status": STATUS.get(status, "UNKNOWN")}}

    @classmethod
    def error_frame(cls, kind: str, message: str) -> bytes:
        return f"data: {dump(cls.error(kind, message))}\r\n\r\n".encode()

    @staticmethod
    def models() -> dict:
        actions = ["generateContent", "countTokens"]
        return {
            "models": [
                {"name": f"models/{m}", "displayName": m.title(), "supportedGenerationMethods": actions}
                for m in MODELS
            ]
        }

    @classmethod
    def model(cls, name: str) -> dict | None:
        return next((m for m in cls.models()["models"] if m["name"] == f"models/{name}"), None)
