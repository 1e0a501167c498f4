"""The loop of a Python driver: one JSON request per line in, one JSON answer per line out."""

import base64
import json
import sys
from collections.abc import Callable


def serve(call: Callable[[dict], dict], more: Callable[[Exception], dict] = lambda _error: {}) -> None:
    """`more` says what only this SDK's exceptions tell."""
    for line in sys.stdin:
        try:
            answer = call(json.loads(line))
        except Exception as error:  # noqa: BLE001 - every SDK failure is a result here
            answer = {"error": described(error) | more(error)}
        print(json.dumps(answer, default=str), flush=True)


def method(api: object, asked: dict) -> dict:
    """Calls any method of an SDK by its name; `{"file", "base64"}` stands for a file."""
    found = api
    for name in asked["method"].split("."):
        found = getattr(found, name)
    params = {name: opened(value) for name, value in asked["params"].items()}
    return {"value": plain(found(*asked["args"], **params, extra_headers=asked["headers"]))}


def opened(value: object) -> object:
    is_file = isinstance(value, dict) and "base64" in value
    return (value["file"], base64.b64decode(value["base64"])) if is_file else value


def plain(value: object) -> object:
    """What an SDK gave back, as JSON: a model, the bytes of an answer, a page or a stream."""
    if hasattr(value, "read"):
        return {"base64": base64.b64encode(value.read()).decode()}
    if hasattr(value, "__next__") or hasattr(value, "iter_pages") or hasattr(value, "get_next_page"):
        return [plain(item) for item in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def described(error: Exception) -> dict:
    """What an SDK's exception tells its user."""
    response = getattr(error, "response", None)
    return {
        "class": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__],
        "status": getattr(error, "status_code", None),
        "message": str(error),
        "type": getattr(error, "type", None),
        "code": getattr(error, "code", None),
        "body": getattr(error, "body", None),
        "request_id": getattr(error, "request_id", None),
        "headers": dict(getattr(response, "headers", {})),
        "seen": getattr(error, "seen", None),
        "text": getattr(error, "text_so_far", None),
    }
