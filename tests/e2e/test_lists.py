"""Model lists, token counts, and the routes that answer for the gateway itself."""

import pytest
from dialects import MODELS


def test_models(drive, sdk, upstream):
    listed = drive(sdk).call("models")["value"]
    ids = [model["id"] for model in listed]
    assert any(model.endswith(MODELS[0]) for model in ids), ids
    for model in listed:
        if sdk.dialect == "anthropic":
            assert model["display_name"]
        else:
            assert model["object"] == "model"


def test_models_name_their_provider(gateway):
    """What is listed can be asked for: every id leads to the provider that has it."""
    listed = gateway.ask("GET", "/v1/models").json
    ids = [model["id"] for model in listed["data"]]
    assert listed["object"] == "list"
    for provider in ("openai", "anthropic"):
        assert f"{provider}/{MODELS[0]}" in ids, ids
    for model in ids:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        assert gateway.post("/v1/chat/completions", body).status == 200, model


def test_one_model(drive, sdk, upstream):
    found = drive(sdk).call("model", {"id": MODELS[1]})["value"]
    assert found["id"].endswith(MODELS[1])


@pytest.mark.parametrize("encoded", ["openai/model-one", "openai%2Fmodel-one"])
def test_model_with_a_slash(gateway, encoded):
    assert gateway.ask("GET", f"/openai/v1/models/{encoded}").json["id"].endswith("model-one")


def test_unknown_model(drive, sdk, upstream):
    error = drive(sdk).call("model", {"id": "no-such-model"})["error"]
    assert error["status"] == 404


def test_count_tokens_by_the_upstream(drive, anthropic_sdk, upstream):
    asked = {"model": "text", "messages": [{"role": "user", "content": "hi"}]}
    assert drive(anthropic_sdk).call("count_tokens", asked)["value"] == {"input_tokens": 4711}


def test_count_tokens_estimated(drive, anthropic_sdk, gateway, upstream):
    """An OpenAI upstream counts nothing: the gateway estimates, and asks nobody."""

    def counted(text: str) -> int:
        asked = {"model": "openai/text", "messages": [{"role": "user", "content": text}]}
        return drive(anthropic_sdk).call("count_tokens", asked)["value"]["input_tokens"]

    short, long = counted("hello"), counted("hello world " * 500)
    assert 1 <= short < 50
    assert 500 <= long <= 3000
    assert upstream.take() == []


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz"])
def test_health(gateway, path):
    assert gateway.ask("GET", path).status == 200


def test_warm_up_of_claude_code(gateway):
    answer = gateway.ask("HEAD", "/anthropic")
    assert answer.status == 200
    assert answer.body == b""


@pytest.mark.parametrize("path", ["/openai/chat/completions", "/openai/v1/chat/completions", "/v1/chat/completions"])
def test_spellings_of_the_chat_route(gateway, path):
    answer = gateway.post(path, {"model": "openai/text", "messages": []})
    assert answer.json["object"] == "chat.completion"
