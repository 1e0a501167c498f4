"""What an SDK gave back, without its dialect: text, thinking, tools, stop, usage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdks import Sdk

STOPS = {
    "end_turn": "end",
    "tool_use": "tool",
    "max_tokens": "length",
    "stop": "end",
    "tool_calls": "tool",
    "length": "length",
    "STOP": "end",
    "MAX_TOKENS": "length",
    "completed": "end",
    "incomplete": "length",
}


def plain(sdk: Sdk, message: dict) -> dict:
    """Of an SDK's final message."""
    match sdk.dialect:
        case "anthropic" | "invoke":
            return of_messages(message)
        case "bedrock":
            return of_converse(message)
        case "gemini":
            return of_gemini(message)
        case "responses":
            return of_responses(message)
    return of_chat(message)


def of_messages(message: dict) -> dict:
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
        "cached": usage.get("cache_read_input_tokens") or 0,
        "output": usage["output_tokens"],
    }


def of_chat(message: dict) -> dict:
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


def of_responses(message: dict) -> dict:
    items, usage = message["output"], message["usage"]
    kinds = {kind: [i for i in items if i["type"] == kind] for kind in ("message", "reasoning", "function_call")}
    thoughts = [
        part["text"]
        for item in kinds["reasoning"]
        for part in (item.get("summary") or []) + (item.get("content") or [])
    ]
    calls = [(c["call_id"], c["name"], json.loads(c["arguments"])) for c in kinds["function_call"]]
    cached = usage["input_tokens_details"]["cached_tokens"]
    stop = STOPS[message["status"]]
    return {
        "text": "".join(p["text"] for i in kinds["message"] for p in i["content"]),
        "thinking": "".join(thoughts),
        "signature": next((i.get("encrypted_content") for i in kinds["reasoning"]), None) or "",
        "tools": calls,
        "stop": "tool" if calls and stop == "end" else stop,
        "input": usage["input_tokens"] - cached,
        "cached": cached,
        "output": usage["output_tokens"],
    }


def of_converse(message: dict) -> dict:
    said = message["output"]["message"]
    assert said["role"] == "assistant"
    thoughts = [b["reasoningContent"] for b in said["content"] if "reasoningContent" in b]
    thinking = [t["reasoningText"] for t in thoughts if "reasoningText" in t]
    uses = [b["toolUse"] for b in said["content"] if "toolUse" in b]
    usage = message["usage"]
    return {
        "text": "".join(b.get("text", "") for b in said["content"]),
        "thinking": "".join(t["text"] for t in thinking),
        "signature": next((t.get("signature") for t in thinking), None) or "",
        "tools": [(u["toolUseId"], u["name"], u["input"]) for u in uses],
        "stop": STOPS[message["stopReason"]],
        "input": usage["inputTokens"],
        "cached": usage.get("cacheReadInputTokens") or 0,
        "output": usage["outputTokens"],
    }


def of_gemini(message: dict) -> dict:
    (candidate,) = message["candidates"]
    parts, usage = candidate["content"]["parts"], message["usageMetadata"]
    calls = [p["functionCall"] for p in parts if p.get("functionCall")]
    cached = usage.get("cachedContentTokenCount") or 0
    stop = STOPS[candidate["finishReason"]]
    return {
        "text": "".join(p.get("text") or "" for p in parts if not p.get("thought")),
        "thinking": "".join(p.get("text") or "" for p in parts if p.get("thought")),
        "signature": next((p["thoughtSignature"] for p in parts if p.get("thoughtSignature")), ""),
        "tools": [(c.get("id"), c["name"], c.get("args") or {}) for c in calls],
        "stop": "tool" if calls and stop == "end" else stop,
        "input": usage["promptTokenCount"] - cached,
        "cached": cached,
        "output": (usage.get("candidatesTokenCount") or 0) + (usage.get("thoughtsTokenCount") or 0),
    }


def folded(sdk: Sdk, answer: dict) -> dict:
    """Where an SDK leaves it to its user to join a stream's events, they are joined here."""
    events = answer.get("events")
    if events is not None:
        fold, text = FOLDS[sdk.dialect]
        answer["message"] = fold(events)
        answer["text"] = "".join(map(text, events))
    error = answer.get("error")
    if error and error.get("seen") and sdk.dialect in FOLDS:
        error["text"] = "".join(map(FOLDS[sdk.dialect][1], error["seen"]))
    return answer


def fold_messages(events: list[dict]) -> dict:
    message: dict = {}
    pieces: dict[int, str] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                message["content"].append(event["content_block"])
                assert len(message["content"]) == event["index"] + 1
            case "content_block_delta":
                block, delta = message["content"][event["index"]], event["delta"]
                match delta["type"]:
                    case "input_json_delta":
                        at = event["index"]
                        pieces[at] = pieces.get(at, "") + delta["partial_json"]
                    case "signature_delta":
                        block["signature"] = delta["signature"]
                    case kind:
                        block[kind.removesuffix("_delta")] += delta[kind.removesuffix("_delta")]
            case "message_delta":
                message |= event["delta"]
                message["usage"] |= event["usage"]
    for at, text in pieces.items():
        message["content"][at]["input"] = json.loads(text or "{}")
    assert events[-1]["type"] == "message_stop"
    return message


def fold_converse(events: list[dict]) -> dict:
    """In the order that AWS keeps: role, blocks, stop, and last what it cost."""
    blocks: dict[int, dict] = {}
    message: dict = {}
    for event in events:
        ((kind, body),) = ((k, v) for k, v in event.items() if k != "$unknown")
        match kind:
            case "contentBlockStart":
                blocks[body["contentBlockIndex"]] = {"toolUse": body["start"]["toolUse"] | {"input": ""}}
            case "contentBlockDelta":
                block = blocks.setdefault(body["contentBlockIndex"], {})
                delta = body["delta"]
                if "text" in delta:
                    block["text"] = block.get("text", "") + delta["text"]
                elif "toolUse" in delta:
                    block["toolUse"]["input"] += delta["toolUse"]["input"]
                elif "reasoningContent" in delta:
                    said = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})
                    for name, value in delta["reasoningContent"].items():
                        if name == "redactedContent":
                            continue
                        said["reasoningText"][name] = said["reasoningText"].get(name, "") + value
            case "messageStart":
                message["output"] = {"message": {"role": body["role"], "content": []}}
            case "messageStop":
                message["stopReason"] = body["stopReason"]
            case "metadata":
                message |= {"usage": body["usage"], "metrics": body["metrics"]}
    for _, block in sorted(blocks.items()):
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
        message["output"]["message"]["content"].append(block)
    assert "messageStart" in events[0]
    assert "metadata" in events[-1]
    return message


def fold_gemini(events: list[dict]) -> dict:
    message = json.loads(json.dumps(events[-1]))
    parts = [p for e in events for c in e.get("candidates", ()) for p in (c.get("content") or {}).get("parts") or ()]
    message["candidates"][0]["content"] = {"parts": parts, "role": "model"}
    return message


def text_of_gemini(event: dict) -> str:
    parts = [p for c in event.get("candidates") or () for p in (c.get("content") or {}).get("parts") or ()]
    return "".join(p.get("text") or "" for p in parts if not p.get("thought"))


FOLDS = {
    "invoke": (fold_messages, lambda event: event.get("delta", {}).get("text", "")),
    "bedrock": (
        fold_converse,
        lambda event: event.get("contentBlockDelta", {}).get("delta", {}).get("text", ""),
    ),
    "gemini": (fold_gemini, text_of_gemini),
}
