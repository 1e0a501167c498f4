"""Failures arrive with their status, their words and their advice, in the client's language."""

import pytest
from script import ERRORS
from sdks import ask

CLASSES = {
    400: {"BadRequestError"},
    401: {"AuthenticationError"},
    403: {"PermissionDeniedError"},
    404: {"NotFoundError"},
    413: {"APIError"},
    429: {"RateLimitError"},
    500: {"InternalServerError"},
    503: {"InternalServerError", "ServiceUnavailableError"},
    529: {"InternalServerError", "OverloadedError"},
}
# What the vendor calls each failure, where the upstream spoke the other language.
ANTHROPIC_TYPES = {status: kind for status, kind, _ in ERRORS.values()}


def said(error: dict) -> str:
    """The human words of an error, as the SDK shows them."""
    return error["message"].replace('\\"', '"')


@pytest.mark.parametrize("call", ["create", "stream"])
@pytest.mark.parametrize("name", ERRORS)
def test_upstream_error(drive, sdk, model, direction, name, call):
    status, kind, message = ERRORS[name]
    error = drive(sdk).call(call, ask(sdk, model(sdk, name)))["error"]
    assert error["status"] == status
    assert CLASSES[status] & set(error["bases"])
    words = (error["body"].get("error") or error["body"])["message"]
    assert words == message
    if direction == "same" and sdk.dialect == "anthropic":
        assert error["body"]["error"]["type"] == kind
    if sdk.dialect == "openai":
        assert error["type"], "an OpenAI error has a type"


def test_retry_advice_is_kept(drive, sdk, model, upstream):
    """`retry-after` and `x-should-retry` reach the SDK, which then does not try again."""
    error = drive(sdk).call("create", ask(sdk, model(sdk, "fail-429")), max_retries=2)["error"]
    assert error["headers"]["retry-after"] == "17"
    assert error["headers"]["x-should-retry"] == "false"
    upstream.take_one()


def test_sdk_retries_a_529_it_was_told_of(drive, sdk, model, upstream):
    error = drive(sdk).call("create", ask(sdk, model(sdk, "fail-529")), max_retries=1)["error"]
    assert error["status"] == 529
    assert len(upstream.take()) == 2


def test_html_from_a_broken_proxy(drive, sdk, model):
    """A 502 without JSON stays a 502; across, it becomes an error of the client's language."""
    error = drive(sdk).call("create", ask(sdk, model(sdk, "fail-html")))["error"]
    assert error["status"] == 502
    assert "InternalServerError" in error["bases"]


@pytest.mark.parametrize("name", ["cut", "rst", "clean-end"])
def test_cut_stream_raises(drive, sdk, model, direction, name, gateway):
    """A stream that ends too early never looks like a good end."""
    answer = drive(sdk).call("stream", ask(sdk, model(sdk, name)))
    assert "error" in answer, f"the SDK took a cut stream for a whole one: {answer['message']}"
    assert answer["error"]["text"].startswith("one ")


def test_error_in_mid_stream(drive, sdk, model):
    answer = drive(sdk).call("stream", ask(sdk, model(sdk, "error-mid")))
    assert "Overloaded in the middle" in said(answer["error"])
    assert answer["error"]["text"].startswith("one ")


@pytest.mark.parametrize("name", ["cut", "rst", "cut-before-head"])
def test_cut_whole_answer_is_502(drive, sdk, model, name, gateway):
    error = drive(sdk).call("create", ask(sdk, model(sdk, name)))["error"]
    assert error["status"] == 502 or (name != "cut-before-head" and error["status"] is None)


class TestRefusals:
    """What the gateway itself refuses, without asking any upstream."""

    PATHS = {"anthropic": "/anthropic/v1/messages", "openai": "/openai/v1/chat/completions"}

    def test_unknown_prefix(self, drive, sdk, gateway, upstream):
        """A prefix that is no provider is no prefix: the name goes upstream whole."""
        error = drive(sdk).call("create", ask(sdk, "meta-llama/none"))["error"]
        assert error["status"] == 404
        assert upstream.take_one().json["model"] == "meta-llama/none"

    def test_provider_without_configuration(self, drive, sdk, gateway, upstream):
        """A provider that is known but not configured: 400, naming those that are."""
        error = drive(sdk).call("create", ask(sdk, "groq/llama"), max_retries=2)["error"]
        assert error["status"] == 400
        words = (error["body"].get("error") or error["body"])["message"]
        for name in ("groq", "anthropic", "openai", "acme"):
            assert name in words
        assert upstream.take() == []

    @pytest.mark.parametrize("dialect", PATHS)
    @pytest.mark.parametrize(
        "body", [b'{"model": "text", "messages": [}', b'{"model": "text"', b"", b"nonsense", b"[1,2]"]
    )
    def test_bad_json(self, gateway, upstream, dialect, body):
        answer = gateway.post(self.PATHS[dialect], body)
        assert answer.status == 400
        error = answer.json
        if dialect == "anthropic":
            assert error["type"] == "error"
            assert error["error"]["type"] == "invalid_request_error"
        assert error["error"]["message"]
        assert upstream.take() == []

    @pytest.mark.parametrize("dialect", PATHS)
    def test_bad_json_says_where(self, gateway, dialect):
        body = b'{"model": "text", "messages": [}'
        message = gateway.post(self.PATHS[dialect], body).json["error"]["message"]
        assert str(body.index(b"}")) in message

    @pytest.mark.parametrize("dialect", PATHS)
    def test_missing_model(self, gateway, dialect):
        answer = gateway.post(self.PATHS[dialect], {"messages": []})
        assert answer.status == 400
        assert "model" in answer.json["error"]["message"]

    @pytest.mark.parametrize("dialect", PATHS)
    def test_deep_nesting(self, gateway, dialect):
        deep = b'{"model":"text","messages":' + b"[" * 5000 + b"]" * 5000 + b"}"
        assert gateway.post(self.PATHS[dialect], deep).status == 400

    @pytest.mark.parametrize("path", ["/anthropic/v1/nothing", "/openai/v1/nothing", "/nothing"])
    def test_unknown_path(self, gateway, path):
        answer = gateway.post(path, {})
        assert answer.status == 404
        assert answer.json["error"]["message"]
