"""The loop of a Python driver: one JSON request per line in, one JSON answer per line out."""

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
