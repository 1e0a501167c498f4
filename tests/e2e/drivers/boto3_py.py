"""Drives `boto3`: the clients `bedrock-runtime`, `bedrock` and `s3`."""

import functools
import json

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from lines import serve

SENT: dict[str, str] = {}


@functools.cache
def client(service: str, base_url: str, attempts: int, access_key: str):
    api = boto3.client(
        service,
        endpoint_url=base_url,
        region_name="us-west-2",
        aws_access_key_id=access_key,
        aws_secret_access_key="dummy-secret",
        config=Config(retries={"total_max_attempts": attempts}, read_timeout=20),
    )

    def add(request, **_more):
        for name, value in SENT.items():
            request.headers[name] = value

    api.meta.events.register_first(f"before-sign.{service}.*", add)
    return api


def whole(answer: dict) -> dict:
    meta = answer.pop("ResponseMetadata")
    if "body" in answer:
        answer = {"message": json.loads(answer["body"].read()), "content_type": answer["contentType"]}
    else:
        answer = {"message": answer}
    return answer | {"headers": meta["HTTPHeaders"]}


def stream(answer: dict) -> dict:
    events = []
    try:
        for event in answer.get("stream") or answer["body"]:
            events.append(json.loads(event["chunk"]["bytes"]) if "chunk" in event else event)
    except Exception as error:
        error.seen = events
        raise
    return {"events": events, "headers": answer["ResponseMetadata"]["HTTPHeaders"]}


def call(asked: dict) -> dict:
    SENT.clear()
    SENT.update(asked["headers"])
    attempts, access_key = 1 + asked.get("max_retries", 0), asked.get("api_key", "AKIDEXAMPLE")
    service = asked.get("service", "bedrock-runtime")
    api = client(service, asked["base_url"], attempts, access_key)
    params = asked["params"]
    if "body" in params and service == "bedrock-runtime":
        params |= {"body": json.dumps(params["body"])}
    verb = asked["call"]
    if asked["api"] == "bedrock":
        verb = {"create": "converse", "stream": "converse_stream"}.get(verb, verb)
    else:
        verb = {"create": "invoke_model", "stream": "invoke_model_with_response_stream"}.get(verb, verb)
    answer = getattr(api, verb)(**params)
    if verb.endswith("_stream"):
        return stream(answer)
    if asked["call"] == "create":
        return whole(answer)
    answer.pop("ResponseMetadata")
    return {"value": answer}


def more(error: Exception) -> dict:
    if not isinstance(error, ClientError):
        return {}
    meta = error.response.get("ResponseMetadata", {})
    said = error.response["Error"]
    return {
        "status": meta.get("HTTPStatusCode"),
        "code": said["Code"],
        "message": said.get("Message", ""),
        "request_id": meta.get("RequestId"),
        "headers": meta.get("HTTPHeaders", {}),
    }


serve(call, more)
