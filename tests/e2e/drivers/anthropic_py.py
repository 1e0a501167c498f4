"""Drives the `anthropic` Python SDK."""

import anthropic
from lines import method, serve


def client(asked: dict) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=asked["base_url"],
        api_key=asked.get("api_key", "dummy-key"),
        max_retries=asked.get("max_retries", 0),
        timeout=asked.get("timeout_s", 20),
    )


def stream(asked: dict, api: anthropic.Anthropic) -> dict:
    seen, text = [], []
    try:
        with api.messages.stream(**asked["params"], extra_headers=asked["headers"]) as events:
            for event in events:
                seen.append(event.type)
                if event.type == "text":
                    text.append(event.text)
            return {
                "message": events.get_final_message().model_dump(),
                "headers": dict(events.response.headers),
                "seen": seen,
                "text": "".join(text),
            }
    except Exception as error:
        error.seen, error.text_so_far = seen, "".join(text)
        raise


def call(asked: dict) -> dict:
    api = client(asked)
    extra = {"extra_headers": asked["headers"]}
    match asked["call"]:
        case "create":
            raw = api.messages.with_raw_response.create(**asked["params"], **extra)
            return {"message": raw.parse().model_dump(), "headers": dict(raw.headers)}
        case "stream":
            return stream(asked, api)
        case "count_tokens":
            return {"value": api.messages.count_tokens(**asked["params"], **extra).model_dump()}
        case "method":
            return method(api, asked)
        case "models":
            return {"value": [m.model_dump(mode="json") for m in api.models.list(**extra)]}
        case "model":
            return {"value": api.models.retrieve(asked["params"]["id"], **extra).model_dump(mode="json")}
    raise ValueError(asked["call"])


serve(call)
