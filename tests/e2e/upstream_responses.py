"""Writes a script as OpenAI's Responses API says it."""

from __future__ import annotations

from dialects import Frame, OpenAi, dump, fresh
from script import Script, Text, Thinking, Tool


class Responses:
    """POST /responses, whole and as its events."""

    name = "responses"
    stream_type = "text/event-stream; charset=utf-8"
    error = OpenAi.error

    @staticmethod
    def usage(script: Script) -> dict:
        usage = script.usage
        prompt = usage.input + usage.cached + usage.written
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": prompt + usage.output,
        }

    @classmethod
    def response(cls, script: Script, model: str, items: list[dict], status: str) -> dict:
        done = status != "in_progress"
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": fresh("resp_"),
            "object": "response",
            "created_at": 1790000000,
            "status": status,
            "error": None,
            "incomplete_details": cut,
            "instructions": None,
            "metadata": {},
            "model": model,
            "output": items,
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": cls.usage(script) if done else None,
            "x_unknown_field": {"kept": True},
        }

    @staticmethod
    def items(script: Script) -> list[dict]:
        items: list[dict] = []
        for block in script.blocks:
            match block:
                case Text():
                    part = {"type": "output_text", "text": block.whole, "annotations": [], "logprobs": []}
                    items.append(
                        {
                            "type": "message",
                            "id": fresh("msg_"),
                            "status": "completed",
                            "role": "assistant",
                            "content": [part],
                        }
                    )
                case Thinking():
                    items.append(
                        {
                            "type": "reasoning",
                            "id": fresh("rs_"),
                            "summary": [{"type": "summary_text", "text": block.whole}],
                            "encrypted_content": block.signature,
                        }
                    )
                case Tool():
                    items.append(
                        {
                            "type": "function_call",
                            "id": fresh("fc_"),
                            "status": "completed",
                            "call_id": block.id,
                            "name": block.name,
                            "arguments": "".join(block.pieces) or "{}",
                        }
                    )
        return items

    @staticmethod
    def status(script: Script) -> str:
        return "incomplete" if script.stop == "length" else "completed"

    @classmethod
    def message(cls, script: Script, model: str) -> dict:
        return cls.response(script, model, cls.items(script), cls.status(script))

    @classmethod
    def frames(cls, script: Script, model: str, _asked: dict) -> list[Frame]:
        final = cls.message(script, model)
        begun = final | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
        events: list[dict] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
        ]
        for index, (block, item) in enumerate(zip(script.blocks, final["output"])):
            events += [e | {"output_index": index} for e in cls.item_events(block, item)]
        events.append({"type": f"response.{cls.status(script)}", "response": final})
        return [
            Frame(cls.frame(e | {"sequence_number": n}), e["type"] == "response.output_text.delta")
            for n, e in enumerate(events)
        ]

    @staticmethod
    def item_events(block: Text | Thinking | Tool, item: dict) -> list[dict]:
        at = {"item_id": item["id"]}
        opened = item | {"status": "in_progress"}
        match block:
            case Text():
                part = item["content"][0]
                where = at | {"content_index": 0}
                opened |= {"content": []}
                inner = [
                    {"type": "response.content_part.added", "part": part | {"text": ""}} | where,
                    *(
                        {"type": "response.output_text.delta", "delta": p, "logprobs": []} | where
                        for p in block.pieces
                    ),
                    {"type": "response.output_text.done", "text": part["text"], "logprobs": []} | where,
                    {"type": "response.content_part.done", "part": part} | where,
                ]
            case Thinking():
                part = item["summary"][0]
                where = at | {"summary_index": 0}
                opened = {"type": "reasoning", "id": item["id"], "summary": []}
                named = "response.reasoning_summary"
                inner = [
                    {"type": f"{named}_part.added", "part": part | {"text": ""}} | where,
                    *({"type": f"{named}_text.delta", "delta": p} | where for p in block.pieces),
                    {"type": f"{named}_text.done", "text": part["text"]} | where,
                    {"type": f"{named}_part.done", "part": part} | where,
                ]
            case Tool():
                opened |= {"arguments": ""}
                named = "response.function_call_arguments"
                inner = [
                    *({"type": f"{named}.delta", "delta": p} | at for p in block.pieces or ("{}",)),
                    {"type": f"{named}.done", "arguments": item["arguments"]} | at,
                ]
        added = {"type": "response.output_item.added", "item": opened}
        return [added, *inner, {"type": "response.output_item.done", "item": item}]

    @staticmethod
    def frame(event: dict) -> bytes:
        return f"event: {event['type']}\ndata: {dump(event)}\n\n".encode()

    @classmethod
    def error_frame(cls, kind: str, message: str) -> bytes:
        error = {"type": "error", "code": kind, "message": message, "param": None}
        return cls.frame(error | {"sequence_number": 99})

    @staticmethod
    def turns(asked: dict) -> int:
        """How often the model has spoken: its items that stand together are one turn."""
        spoken, before = 0, False
        items = asked.get("input") or []
        for item in items if isinstance(items, list) else []:
            own = item.get("type") in ("function_call", "reasoning") or item.get("role") == "assistant"
            spoken += own and not before
            before = own
        return spoken
