"""One Converse call by boto3: `converse.py ENDPOINT ACCESS_KEY SECRET`; what came of it, as JSON."""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def main() -> None:
    endpoint, access_key, secret = sys.argv[1:]
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 1, "mode": "standard"}),
    )
    turns = [{"role": "user", "content": [{"text": "hi, wörld"}]}]
    try:
        answer = client.converse(modelId="us.amazon.nova-lite-v1:0", messages=turns)
    except ClientError as error:
        said = error.response["Error"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        print(json.dumps({"status": status, "code": said["Code"], "message": said["Message"]}))
        return
    print(json.dumps({"text": answer["output"]["message"]["content"][0]["text"]}))


main()
