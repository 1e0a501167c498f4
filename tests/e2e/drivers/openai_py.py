"""Drives the `openai` Python SDK."""

import openai
from lines import method, serve
from pydantic import BaseModel


class Weather(BaseModel):
    """What a structured answer is parsed into."""

    city: str
    days: int


def client(asked: dict) -> openai.OpenAI:
    common = {
        "api_key": asked.get("api_key", "dummy-key"),
        "max_retries": asked.get("max_retries", 0),
        "timeout": asked.get("timeout_s", 20),
    }
    if asked["api"] == "azure":
        where = {"azure_endpoint": asked["base_url"], "api_version": "2024-10-21"}
        return openai.AzureOpenAI(**where, **common)
    return openai.OpenAI(base_url=asked["base_url"], **common)


def responses(asked: dict, api: openai.OpenAI, extra: dict) -> dict:
    """The calls of the Responses API."""
    params = asked["params"]
    match asked["call"]:
        case "create":
            raw = api.responses.with_raw_response.create(**params, **extra)
            answer = raw.parse()
            text = answer.output_text
            return {"message": answer.model_dump(), "headers": dict(raw.headers), "text": text}
        case "stream":
            return responses_stream(params, api, extra)
        case "parse":
            answer = api.responses.parse(**params, text_format=Weather, **extra)
            return {"value": answer.output_parsed.model_dump()}
        case "count_tokens":
            return {"value": api.responses.input_tokens.count(**params, **extra).model_dump()}
    return getattr(api.responses, asked["call"])(**params, **extra).model_dump()


def responses_stream(params: dict, api: openai.OpenAI, extra: dict) -> dict:
    seen, text = [], []
    try:
        with api.responses.stream(**params, **extra) as events:
            for event in events:
                seen.append(event.type)
                if event.type == "response.output_text.delta":
                    text.append(event.delta)
                if event.type == "response.incomplete":
                    # the helper has no final response for it
                    message = event.response.model_dump()
                    return {"message": message, "seen": seen, "text": "".join(text)}
                if event.type in ("error", "response.failed"):
                    # the helper only says that something is missing
                    error = event if event.type == "error" else event.response.error
                    raise openai.APIError(error.message, None, body=None)
            message = events.get_final_response().model_dump()
            return {"message": message, "seen": seen, "text": "".join(text)}
    except Exception as error:
        error.seen, error.text_so_far = seen, "".join(text)
        raise


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
    if asked["api"] == "responses" and not asked["call"].startswith("model"):
        return responses(asked, api, extra)
    match asked["call"]:
        case "create":
            raw = api.chat.completions.with_raw_response.create(**asked["params"], **extra)
            return {"message": raw.parse().model_dump(), "headers": dict(raw.headers)}
        case "stream":
            return stream(asked, api)
        case "method":
            return method(api, asked)
        case "models":
            return {"value": [m.model_dump(mode="json") for m in api.models.list(**extra)]}
        case "model":
            return {"value": api.models.retrieve(asked["params"]["id"], **extra).model_dump(mode="json")}
    raise ValueError(asked["call"])


serve(call)
