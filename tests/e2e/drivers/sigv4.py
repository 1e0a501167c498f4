"""Recomputes the signature of a request that arrived: one JSON request in, `authorization` out."""

import json
import re
import sys
from datetime import datetime, timezone

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+),"
)


def main() -> None:
    given = json.load(sys.stdin)
    headers = given["headers"]
    access_key, day, region, service, names = AUTHORIZATION.match(headers["authorization"]).groups()
    signed = {name: headers[name] for name in names.split(";")}
    now = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    if day != now.strftime("%Y%m%d"):
        raise SystemExit("the day is not the date's")
    if abs((datetime.now(timezone.utc) - now).total_seconds()) > 60:
        raise SystemExit("the date is not now")
    if "x-amz-security-token" in headers and "x-amz-security-token" not in signed:
        raise SystemExit("the session token is not signed")
    request = AWSRequest(
        given["method"], given["url"], headers=signed, data=given["body"].encode("latin-1")
    )
    request.context["timestamp"] = headers["x-amz-date"]
    token = headers.get("x-amz-security-token")
    auth = SigV4Auth(Credentials(access_key, given["secret"], token), service, region)
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    scope = f"{access_key}/{day}/{region}/{service}/aws4_request"
    print(
        f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={auth.signed_headers(auth.headers_to_sign(request))},"
        f" Signature={signature}"
    )


main()
