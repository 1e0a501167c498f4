"""Drives the `openai` Python SDK."""

import openai
from lines import serve


def client(asked: dict) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=asked["base_url"],
        api_key=asked.get("api_key", "dummy-key"),
        max_retries=asked.get("max_retries", 0),
        timeout=asked.get("timeout_s", 20),
    )


def stream(asked: dict, api: openai.OpenAI) -> dict:
    """By the accumulating helper, which is the strictest reader of chunks."""
    seen, text = [], []
    params = {"stream_options": {"include_usage": True}} | asked["params"]
    try:
        with api.chat.completions.stream(**params, extra_headers=asked["headers"]) as events:
            for event in events:
                seen.append(event.type)
                if event.type == "content.delta":
                    text.append(event.delta)
            return {
                "message": events.get_final_completion().model_dump(),
                "headers": dict(events._response.headers),
                "seen": seen,
                "text": "".join(text),
            }
    except openai.LengthFinishReasonError as finished:
        return {"message": finished.completion.model_dump(), "headers": {}, "seen": seen, "text": ""}
    except Exception as error:
        error.seen, error.text_so_far = seen, "".join(text)
        raise


def call(asked: dict) -> dict:
    api = client(asked)
    extra = {"extra_headers": asked["headers"]}
    match asked["call"]:
        case "create":
            raw = api.chat.completions.with_raw_response.create(**asked["params"], **extra)
            return {"message": raw.parse().model_dump(), "headers": dict(raw.headers)}
        case "stream":
            return stream(asked, api)
        case "models":
            return {"value": [m.model_dump(mode="json") for m in api.models.list(**extra)]}
        case "model":
            return {"value": api.models.retrieve(asked["params"]["id"], **extra).model_dump(mode="json")}
    raise ValueError(asked["call"])


serve(call)
