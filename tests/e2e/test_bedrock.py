"""What only Bedrock's clients do: model ids, model families, token counts, AWS's own lists."""

import base64
import json

import pytest
from answers import plain
from dialects import MODELS
from gateway import Gateway, config
from script import SCRIPTS
from sdks import SDKS, Driver, ask

BOTO3 = SDKS["boto3-1.44.5"]
INVOKE = SDKS["boto3-invoke-1.44.5"]
AWS = [SDKS["boto3-1.44.5"], SDKS["aws-js-3.1162.0"]]


@pytest.fixture(params=AWS, ids=lambda sdk: sdk.name)
def aws(request):
    return request.param


IDS = [
    "us.anthropic.claude.text-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude.text-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/text",
    "bedrock/text",
]


@pytest.mark.parametrize("call", ["create", "stream"])
@pytest.mark.parametrize("model", IDS)
def test_model_ids(drive, aws, gateway, upstream, model, call):
    """Version suffixes, ARNs and prefixes: one path segment here, one path segment at AWS."""
    answer = drive(aws).call(call, ask(aws, model))
    assert plain(aws, answer["message"])["text"] == SCRIPTS["text"].text
    named = model.removeprefix("bedrock/").replace(":", "%3A").replace("/", "%2F")
    verb = "converse" if call == "create" else "converse-stream"
    got = upstream.take_one()
    assert got.path == f"/base/model/{named}/{verb}"
    assert got.header("authorization") == "Bearer sk-bedrock"


FAMILIES = {
    "mistral.text": (
        {"prompt": "<s>[INST] hi [/INST]", "max_tokens": 50},
        lambda said: said["outputs"][0]["text"],
    ),
    "meta.llama3-text": ({"prompt": "hi", "max_gen_len": 50}, lambda said: said["generation"]),
    "amazon.titan-text": (
        {"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 50}},
        lambda said: said.get("outputText") or said["results"][0]["outputText"],
    ),
    "amazon.nova-text": (
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 50}},
        lambda said: said["output"]["message"]["content"][0]["text"],
    ),
    "openai.gpt-oss-text": (
        {"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 50},
        lambda said: said["choices"][0]["message"]["content"],
    ),
}


@pytest.mark.parametrize("where", ["bedrock/{}", "acme/{}", "anthropic/{}", "gemini/{}"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(drive, gateway, upstream, family, where):
    """InvokeModel takes each family's own body, and answers in it, whoever answers."""
    body, text_of = FAMILIES[family]
    upstream.scripts[family] = SCRIPTS["text"]
    answer = drive(INVOKE).call("create", {"modelId": where.format(family), "body": body})
    assert "error" not in answer, answer
    assert text_of(answer["message"]) == SCRIPTS["text"].text
    asked = upstream.take_one()
    assert b"50" in asked.body


def test_family_streams(drive, gateway, upstream):
    """Chunks hold the family's own pieces."""
    upstream.scripts["mistral.text"] = SCRIPTS["text"]
    body, _ = FAMILIES["mistral.text"]
    gateway_url = drive(INVOKE).base_url
    answer = gateway.post("/bedrock/model/acme%2Fmistral.text/invoke-with-response-stream", body)
    assert gateway_url.endswith("/bedrock")
    assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
    pieces = answer.body.split(b'{"bytes":"')[1:]
    said = [json.loads(base64.b64decode(piece.split(b'"')[0])) for piece in pieces]
    assert "".join(chunk["outputs"][0]["text"] for chunk in said) == SCRIPTS["text"].text
    assert "amazon-bedrock-invocationMetrics" in said[-1]


class TestInvokeElsewhere:
    """Claude's bodies of InvokeModel at Anthropic, and Messages at Bedrock: by bytes, both ways."""

    def test_at_anthropic(self, drive, gateway, upstream):
        body = {
            "anthropic_version": "bedrock-2023-05-31",
            "anthropic_beta": ["context-1m-2025-08-07", "interleaved-thinking-2025-05-14"],
            "max_tokens": 9,
            "x_kept": {"a": 1},
            "messages": [{"role": "user", "content": "hi"}],
        }
        answer = drive(INVOKE).call("stream", {"modelId": "anthropic/text", "body": body})
        assert answer["text"] == SCRIPTS["text"].text
        got = upstream.take_one()
        assert got.header("anthropic-beta") == ",".join(body["anthropic_beta"])
        assert got.header("anthropic-version")[:2] == "20"
        kept = {"max_tokens": 9, "x_kept": {"a": 1}, "messages": body["messages"]}
        assert got.json == kept | {"model": "text", "stream": True}

    def test_messages_at_bedrock(self, gateway, upstream):
        body = {"model": "bedrock/us.anthropic.claude.text-v1:0", "max_tokens": 9, "stream": True}
        headers = {"anthropic-beta": "interleaved-thinking-2025-05-14,skills-2025-10-02"}
        answer = gateway.post("/anthropic/v1/messages", body | {"messages": []}, headers)
        assert b"event: message_stop" in answer.body
        got = upstream.take_one()
        assert got.header("anthropic-beta") is None
        assert got.json == {
            "max_tokens": 9,
            "messages": [],
            "anthropic_version": "bedrock-2023-05-31",
            "anthropic_beta": ["interleaved-thinking-2025-05-14"],
        }

    def test_across_says_nothing_of_the_envelope(self, drive, gateway, upstream):
        answer = drive(INVOKE).call("create", ask(INVOKE, "acme/text"))
        assert "x-bf-dropped" not in answer["headers"]


CONVERSE = {"messages": [{"role": "user", "content": [{"text": "hello world " * 100}]}]}
MESSAGES = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hello world " * 100}],
}
INPUTS = {
    "converse": {"converse": CONVERSE},
    "invoke": {"invokeModel": {"body": json.dumps(MESSAGES)}},
}


class TestCounts:
    @pytest.mark.parametrize("form", INPUTS)
    def test_by_bedrock(self, drive, gateway, upstream, form):
        asked = {"modelId": "us.anthropic.claude.text-v1:0", "input": INPUTS[form]}
        assert drive(BOTO3).call("count_tokens", asked)["value"] == {"inputTokens": 4711}
        got = upstream.take_one()
        assert got.path.endswith("/model/us.anthropic.claude.text-v1%3A0/count-tokens")
        assert ("converse" in got.json["input"]) == (form == "converse")

    @pytest.mark.parametrize("where", ["acme/text", "anthropic/text", "gemini/text", "mock/echo"])
    @pytest.mark.parametrize("form", INPUTS)
    def test_estimated(self, drive, gateway, upstream, form, where):
        counted = drive(BOTO3).call("count_tokens", {"modelId": where, "input": INPUTS[form]})
        assert 150 < counted["value"]["inputTokens"] < 700
        assert upstream.take() == []

    def test_neither(self, gateway):
        answer = gateway.post("/bedrock/model/mock%2Fecho/count-tokens", {"input": {}})
        assert answer.status == 400
        assert answer.headers["x-amzn-errortype"] == "ValidationException"


class TestLists:
    """AWS's own lists, as the client `bedrock` reads them."""

    def test_foundation_models(self, drive, gateway):
        listed = drive(BOTO3).call("list_foundation_models", service="bedrock")["value"]
        models = {model["modelId"]: model for model in listed["modelSummaries"]}
        for name in (f"bedrock/{MODELS[0]}", f"anthropic/{MODELS[0]}", f"openai/{MODELS[1]}"):
            assert name in models
        assert models[f"anthropic/{MODELS[0]}"]["modelLifecycle"] == {"status": "ACTIVE"}
        assert all(model["modelArn"].startswith("arn:aws:bedrock:") for model in models.values())

    def test_one_foundation_model(self, drive, gateway):
        asked = {"modelIdentifier": f"anthropic/{MODELS[0]}"}
        found = drive(BOTO3).call("get_foundation_model", asked, service="bedrock")["value"]
        assert found["modelDetails"]["modelId"] == f"anthropic/{MODELS[0]}"

    def test_inference_profiles(self, drive, gateway):
        listed = drive(BOTO3).call("list_inference_profiles", service="bedrock")["value"]
        profiles = {p["inferenceProfileId"]: p for p in listed["inferenceProfileSummaries"]}
        assert profiles["us.anthropic.claude-text"]["type"] == "SYSTEM_DEFINED"

    def test_unknown(self, drive, gateway):
        asked = {"inferenceProfileIdentifier": "us.no-such-model"}
        error = drive(BOTO3).call("get_inference_profile", asked, service="bedrock")["error"]
        assert error["code"] == "ResourceNotFoundException"


VIRTUAL = "sk-bf-00000000-1111-2222-3333-444444444444"


@pytest.fixture(scope="module")
def governed(the_upstream, tmp_path_factory):
    """A gateway that wants a virtual key."""
    settings = config(the_upstream.url)
    settings["client"]["enforce_auth_on_inference"] = True
    grants = [{"provider": name, "allowed_models": ["*"], "key_ids": ["*"]} for name in settings["providers"]]
    keys = [{"id": "vk-1", "name": "team", "value": VIRTUAL, "is_active": True, "provider_configs": grants}]
    settings["governance"] = {"virtual_keys": keys}
    with Gateway(settings, tmp_path_factory.mktemp("governed")) as gateway:
        driver = Driver(BOTO3, f"{gateway.url}/bedrock")
        yield driver
        driver.process.stdin.close()
        driver.end()


class TestVirtualKeys:
    """Where boto3's users put a virtual key."""

    def test_none(self, governed, upstream):
        error = governed.call("create", ask(BOTO3, "text"))["error"]
        assert error["status"] == 401
        assert upstream.take() == []

    def test_by_a_header_hook(self, governed, upstream):
        answer = governed.call("create", ask(BOTO3, "text"), headers={"x-bf-vk": VIRTUAL})
        assert "error" not in answer, answer

    def test_as_access_key_id(self, governed, upstream):
        answer = governed.call("create", ask(BOTO3, "text"), api_key=VIRTUAL)
        assert "error" not in answer, answer
