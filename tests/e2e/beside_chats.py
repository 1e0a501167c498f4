"""What the scripted upstream says to every call that is no chat: fixed answers in the vendors' shapes."""

from __future__ import annotations

import base64
import json
import struct

VECTOR = [1.0, -2.5, 0.5]
PACKED = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
AUDIO = bytes(range(256)) * 40
JSON, JSONL, SSE = "application/json", "application/x-jsonl", "text/event-stream"

FILE = {"id": "file-1", "object": "file", "bytes": 5, "created_at": 1, "filename": "a.jsonl",
        "purpose": "batch", "status": "processed"}
BATCH = {"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1",
         "completion_window": "24h", "status": "validating", "created_at": 1}
RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed",
            "output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
TIMES = {"created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z",
         "archived_at": None, "cancel_initiated_at": None, "ended_at": "2026-01-01T01:00:00Z"}
MESSAGES = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "ended",
            "request_counts": {"canceled": 0, "errored": 0, "expired": 0, "processing": 0, "succeeded": 1},
            "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"} | TIMES
RESULT = {"custom_id": "one", "result": {"type": "succeeded", "message": {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [
        {"type": "text", "text": "done"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1}}}}
CLAUDE_FILE = {"id": "file_1", "type": "file", "filename": "a.txt", "mime_type": "text/plain",
               "size_bytes": 5, "created_at": "2026-01-01T00:00:00Z", "downloadable": True}


def listed(item: dict) -> dict:
    return {"object": "list", "data": [item], "has_more": False, "first_id": item["id"], "last_id": item["id"]}


def embeddings(asked: dict) -> dict:
    """Numbers, whatever was asked for; or what was asked for, if the model is called so."""
    packs = asked["model"].endswith("packed") and asked.get("encoding_format") == "base64"
    inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    vectors = [{"object": "embedding", "index": at, "embedding": PACKED if packs else VECTOR}
               for at, _ in enumerate(inputs)]
    return {"object": "list", "data": vectors, "model": asked["model"],
            "usage": {"prompt_tokens": 2, "total_tokens": 2}}


def completion(text: str, reason: str | None) -> dict:
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "text": text, "finish_reason": reason, "logprobs": None}]}


def completions(asked: dict) -> tuple[str, bytes]:
    if not asked.get("stream"):
        return JSON, dump(completion("ab", "stop"))
    events = [dump(completion("a", None)), dump(completion("b", "stop")), b"[DONE]"]
    return SSE, b"".join(b"data: " + event + b"\n\n" for event in events)


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


OPENAI = {
    ("POST", "/moderations"): {"id": "m", "model": "omni-moderation-latest", "results": []},
    ("POST", "/audio/transcriptions"): {"text": "heard"},
    ("POST", "/audio/translations"): {"text": "heard"},
    ("POST", "/images/generations"): {"created": 1, "data": [{"b64_json": "aGk="}]},
    ("POST", "/images/edits"): {"created": 1, "data": [{"b64_json": "aGk="}]},
    ("POST", "/files"): FILE,
    ("GET", "/files"): listed(FILE),
    ("GET", "/files/file-1"): FILE,
    ("DELETE", "/files/file-1"): {"id": "file-1", "object": "file", "deleted": True},
    ("POST", "/batches"): BATCH,
    ("GET", "/batches"): listed(BATCH),
    ("GET", "/batches/batch_1"): BATCH,
    ("POST", "/batches/batch_1/cancel"): BATCH | {"status": "cancelling"},
    ("GET", "/responses/resp_1"): RESPONSE,
    ("DELETE", "/responses/resp_1"): {"id": "resp_1", "object": "response", "deleted": True},
    ("POST", "/responses/resp_1/cancel"): RESPONSE | {"status": "cancelled"},
    ("GET", "/responses/resp_1/input_items"): listed({"id": "msg_1", "type": "message", "role": "user",
                                                      "content": [{"type": "input_text", "text": "hi"}]}),
}
ANTHROPIC = {
    ("POST", "/messages/batches"): MESSAGES | {"processing_status": "in_progress", "results_url": None},
    ("GET", "/messages/batches"): listed(MESSAGES),
    ("GET", "/messages/batches/msgbatch_1"): MESSAGES,
    ("POST", "/messages/batches/msgbatch_1/cancel"): MESSAGES | {"processing_status": "canceling"},
    ("DELETE", "/messages/batches/msgbatch_1"): {"id": "msgbatch_1", "type": "message_batch_deleted"},
    ("POST", "/files"): CLAUDE_FILE,
    ("GET", "/files"): listed(CLAUDE_FILE),
    ("GET", "/files/file_1"): CLAUDE_FILE,
    ("DELETE", "/files/file_1"): {"id": "file_1", "type": "file_deleted"},
}


def answer(method: str, path: str, anthropic: bool, body: bytes) -> tuple[str, bytes] | None:
    """Content type and body; None for what is no such call."""
    path = path[path.find("/v1/") + 3 :] if "/v1/" in path else path
    if path == "/embeddings":
        return JSON, dump(embeddings(json.loads(body)))
    if path == "/completions":
        return completions(json.loads(body))
    if path == "/audio/speech":
        return "audio/mpeg", AUDIO
    if path.endswith("/content"):
        return "application/octet-stream", AUDIO
    if path == "/messages/batches/msgbatch_1/results":
        return JSONL, dump(RESULT) + b"\n"
    fixed = (ANTHROPIC if anthropic else OPENAI).get((method, path))
    return None if fixed is None else (JSON, dump(fixed))
