"""Drives the `google-genai` Python SDK."""

import functools

from google import genai
from google.genai import errors, types
from lines import serve


@functools.cache
def client(base_url: str, key: str, headers: tuple) -> genai.Client:
    options = types.HttpOptions(base_url=base_url, headers=dict(headers), timeout=20_000)
    return genai.Client(api_key=key, vertexai=False, http_options=options)


def dumped(answer) -> dict:
    return answer.model_dump(mode="json", by_alias=True, exclude_none=True)


def stream(chunks) -> dict:
    events = []
    try:
        for chunk in chunks:
            events.append(dumped(chunk))
    except Exception as error:
        error.seen = events
        raise
    return {"events": events}


def get_weather(city: str, days: int) -> str:
    """Tells the weather of a city for some days."""
    return f"{days} sunny days in {city}"


def chat(asked: dict, api: genai.Client) -> dict:
    """Each of `says` in one chat; with `automatic`, the SDK calls our function by itself."""
    params = dict(asked["params"])
    says, automatic = params.pop("says"), params.pop("automatic", False)
    config = types.GenerateContentConfig(tools=[get_weather]) if automatic else None
    talk = api.chats.create(**params, config=config)
    answers = [talk.send_message(text) for text in says]
    history = [dumped(content) for content in talk.get_history()]
    return {"text": [answer.text for answer in answers], "value": history}


def call(asked: dict) -> dict:
    headers = tuple(sorted(asked["headers"].items()))
    api = client(asked["base_url"], asked.get("api_key", "dummy-key"), headers)
    params = asked["params"]
    match asked["call"]:
        case "create":
            answer = api.models.generate_content(**params)
            return {"message": dumped(answer), "headers": dict(answer.sdk_http_response.headers)}
        case "stream":
            return stream(api.models.generate_content_stream(**params))
        case "count_tokens":
            return {"value": dumped(api.models.count_tokens(**params))}
        case "chat":
            return chat(asked, api)
        case "models":
            return {"value": [dumped(model) for model in api.models.list()]}
        case "model":
            return {"value": dumped(api.models.get(model=params["id"]))}
    raise ValueError(asked["call"])


def more(error: Exception) -> dict:
    if not isinstance(error, errors.APIError):
        return {}
    return {"status": error.code, "code": error.status, "message": error.message, "body": error.details}


serve(call, more)
