"""Failures of upstreams of every language, as every SDK's own exceptions."""

import pytest
from conftest import OWN
from script import ERRORS
from sdks import ask
from upstream_bedrock import EXCEPTIONS
from upstream_gemini import STATUS

# Which class an SDK raises for a status, where it has classes for that.
OPENAI = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    413: "APIError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "InternalServerError",
    529: "InternalServerError",
}


@pytest.mark.parametrize("call", ["create", "stream"])
@pytest.mark.parametrize("name", ERRORS)
def test_upstream_error(drive, any_sdk, placed, spoken, name, call):
    status, _kind, message = ERRORS[name]
    error = drive(any_sdk).call(call, ask(any_sdk, placed(any_sdk, name)))["error"]
    assert error["status"] == status, error
    assert message in error["message"].replace('\\"', '"')
    match any_sdk.dialect:
        case "bedrock" | "invoke":
            assert error["code"] == EXCEPTIONS[status]
            assert error["request_id"], "AWS's support asks for it"
        case "gemini":
            assert error["code"] == STATUS[status]
        case "anthropic":
            assert error["body"]["error"]["type"]
        case _:
            assert OPENAI[status] in error["bases"]
            assert error["type"] or OWN[any_sdk.dialect][0] == spoken


def test_retries_are_the_sdks_own(drive, bedrock_sdk, placed, upstream):
    """AWS's SDKs try a 503 again, as they would at AWS."""
    asked = ask(bedrock_sdk, placed(bedrock_sdk, "fail-503"))
    error = drive(bedrock_sdk).call("create", asked, max_retries=1)["error"]
    assert error["status"] == 503
    assert len(upstream.take()) == 2


@pytest.mark.parametrize("name", ["cut", "rst", "clean-end"])
def test_cut_stream_raises(drive, any_sdk, placed, spoken, name, gateway):
    """A stream that ends too early never looks like a good end."""
    answer = drive(any_sdk).call("stream", ask(any_sdk, placed(any_sdk, name)))
    assert "error" in answer, f"the SDK took a cut stream for a whole one: {answer['message']}"
    assert answer["error"]["text"].startswith("one ")


def test_error_in_mid_stream(drive, any_sdk, placed):
    answer = drive(any_sdk).call("stream", ask(any_sdk, placed(any_sdk, "error-mid")))
    error = answer["error"]
    assert error["text"].startswith("one ")
    assert "Overloaded in the middle" in error["message"]
    if any_sdk.name.startswith("aws-js"):
        assert error["class"] == "ServiceUnavailableException"
    elif any_sdk.dialect in ("bedrock", "invoke"):
        assert error["code"] == "serviceUnavailableException"


@pytest.mark.parametrize("name", ["cut", "rst", "cut-before-head"])
def test_cut_whole_answer_is_502(drive, any_sdk, placed, name, gateway):
    error = drive(any_sdk).call("create", ask(any_sdk, placed(any_sdk, name)))["error"]
    assert error["status"] == 502 or (name != "cut-before-head" and error["status"] is None)


def test_provider_without_configuration(drive, any_sdk, gateway, upstream):
    """A provider that is known but not configured: 400, naming those that are."""
    error = drive(any_sdk).call("create", ask(any_sdk, "groq/llama"), max_retries=2)["error"]
    assert error["status"] == 400
    assert "acme" in error["message"]
    assert upstream.take() == []
    if any_sdk.dialect in ("bedrock", "invoke"):
        assert error["code"] == "ValidationException"
