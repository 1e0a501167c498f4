"""Credentials of the clouds on the path of a request: what leaves the gateway, and who is asked."""

from __future__ import annotations

import json

import pytest
from cloud import Cloud, resigned
from conftest import DIRECT
from gateway import Gateway

pytestmark = pytest.mark.skipif(DIRECT, reason="needs the gateway")

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@pytest.fixture
def cloud():
    with Cloud() as cloud:
        yield cloud


def settings(cloud: Cloud, name: str, *keys: dict, **more: object) -> dict:
    """One provider, which the cloud plays."""
    keys = [{"name": f"{name}-{at}", "models": ["*"], "weight": 1} | k for at, k in enumerate(keys)]
    provider = {"keys": keys, "network_config": {"base_url": cloud.url}} | more
    return {"version": 2, "providers": {name: provider}}


def aws(**key: str) -> dict:
    given = {"region": "eu-west-3", "access_key": "AKIDEXAMPLE", "secret_key": SECRET}
    return {"bedrock_key_config": given | key}


def ask(model: str, **more: object) -> dict:
    turns = [{"role": "user", "content": "hi"}]
    return {"model": model, "max_tokens": 9, "messages": turns} | more


CONVERSE = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
ARN = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc123"


def test_calls_of_bedrock_are_signed(cloud, tmp_path):
    """As botocore signs them: ids with a colon, ARNs, streams, other clients' languages."""
    with Gateway(settings(cloud, "bedrock", aws()), tmp_path) as gateway:
        for path, body, target, region in (
            (
                "/bedrock/model/us.amazon.nova-pro-v1%3A0/converse",
                CONVERSE,
                "/model/us.amazon.nova-pro-v1%3A0/converse",
                "eu-west-3",
            ),
            (
                "/bedrock/model/us.amazon.nova-pro-v1:0/converse-stream",
                CONVERSE,
                "/model/us.amazon.nova-pro-v1%3A0/converse-stream",
                "eu-west-3",
            ),
            (
                f"/bedrock/model/{ARN.replace('/', '%2F')}/converse",
                CONVERSE,
                f"/model/{ARN.replace(':', '%3A').replace('/', '%2F')}/converse",
                "us-west-2",
            ),
            (
                "/openai/v1/chat/completions",
                ask("bedrock/us-east-2/amazon.nova-pro-v1:0", messages=[{"role": "user", "content": "wörld"}]),
                "/model/amazon.nova-pro-v1%3A0/converse",
                "us-east-2",
            ),
            (
                "/anthropic/v1/messages",
                ask("bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"),
                "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke",
                "eu-west-3",
            ),
        ):
            headers = {"authorization": "Bearer not-for-aws", "x-amzn-bedrock-trace": "ENABLED"}
            answer = gateway.post(path, body, headers)
            assert answer.status == 200, (path, answer.body)
            assert b"hello" in answer.body
            (asked,) = cloud.calls("/")
            cloud.asked.clear()
            assert asked.target == target
            assert f"/{region}/bedrock/aws4_request" in asked.headers["authorization"]
            assert "x-amzn-bedrock-trace" in asked.headers["authorization"]
            assert asked.headers["authorization"] == resigned(asked, cloud.host, SECRET)
            assert "x-amz-security-token" not in asked.headers


def test_a_session_token_travels_and_is_signed(cloud, tmp_path):
    key = aws(session_token="FwoGZXIvYXdzEXAMPLE//token==")
    with Gateway(settings(cloud, "bedrock", key), tmp_path) as gateway:
        answer = gateway.post("/bedrock/model/amazon.nova-lite-v1:0/converse", CONVERSE)
        assert answer.status == 200, answer.body
    (asked,) = cloud.asked
    assert asked.headers["x-amz-security-token"] == "FwoGZXIvYXdzEXAMPLE//token=="
    assert asked.headers["authorization"] == resigned(asked, cloud.host, SECRET)


def test_an_api_key_of_bedrock_is_a_bearer(cloud, tmp_path):
    key = {"value": "bedrock-api-key-1", "bedrock_key_config": {"region": "eu-west-3"}}
    with Gateway(settings(cloud, "bedrock", key), tmp_path) as gateway:
        answer = gateway.post("/anthropic/v1/messages", ask("bedrock/amazon.nova-lite-v1:0"))
        assert json.loads(answer.body)["content"][0]["text"] == "hello"
    (asked,) = cloud.asked
    assert asked.headers["authorization"] == "Bearer bedrock-api-key-1"
    assert "x-amz-date" not in asked.headers
