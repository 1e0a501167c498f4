"""Credentials of the clouds on the path of a request: what leaves the gateway, and who is asked."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest
from cloud import MESSAGE, PYTHON, Asked, Cloud, resigned, said
from conftest import DIRECT
from gateway import ROOT, Gateway
from sdks import DRIVERS

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


def in_s(seconds: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Sts:
    """Assumed roles; each answer has an access key of its own, and the secret that is its name."""

    def __init__(self, cloud: Cloud, lifetime_s: float = 3600) -> None:
        self.asked: list[Asked] = []
        self.lifetime_s = lifetime_s
        self.refusal: str | None = None
        cloud.route("/sts", self.answer)
        self.env = {"AWS_ENDPOINT_URL_STS": f"{cloud.url}/sts", "AWS_EC2_METADATA_DISABLED": "true"}

    def answer(self, asked: Asked):
        self.asked.append(asked)
        if self.refusal:
            error = f"<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{self.refusal}</Message></Error>"
            return said(f"<ErrorResponse>{error}</ErrorResponse>", 403, "text/xml")
        action, at = asked.form["Action"], len(self.asked)
        credentials = (
            f"<AccessKeyId>ASIA{at}</AccessKeyId><SecretAccessKey>secret-{at}</SecretAccessKey>"
            f"<SessionToken>token-{at}</SessionToken><Expiration>{in_s(self.lifetime_s)}</Expiration>"
        )
        user = "<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser>"
        result = f"<{action}Result><Credentials>{credentials}</Credentials>{user}</{action}Result>"
        space = "https://sts.amazonaws.com/doc/2011-06-15/"
        return said(f'<{action}Response xmlns="{space}">{result}</{action}Response>', kind="text/xml")


def converse(gateway: Gateway):
    return gateway.post("/bedrock/model/amazon.nova-lite-v1:0/converse", CONVERSE)


def last_model_call(cloud: Cloud) -> Asked:
    return cloud.calls("/model/")[-1]


def test_a_role_is_assumed_once_and_its_credentials_sign(cloud, tmp_path):
    """As the key's own pair, with external id and session name; all who wait share one call."""
    sts = Sts(cloud)
    role = aws(role_arn="arn:aws:iam::1:role/finops", external_id="ext-1", session_name="tests")
    with Gateway(settings(cloud, "bedrock", role), tmp_path, env=sts.env) as gateway:
        statuses = []
        asking = [
            threading.Thread(target=lambda: statuses.append(converse(gateway).status))
            for _ in range(8)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert statuses == [200] * 8, gateway.logged()
        (asked,) = sts.asked
        form = asked.form
        assert form["Action"] == "AssumeRole" and form["RoleArn"] == "arn:aws:iam::1:role/finops"
        assert (form["ExternalId"], form["RoleSessionName"]) == ("ext-1", "tests")
        assert "Credential=AKIDEXAMPLE/" in asked.headers["authorization"]
        assert "/eu-west-3/sts/" in asked.headers["authorization"]
        for call in cloud.calls("/model/"):
            assert call.headers["x-amz-security-token"] == "token-1"
            assert call.headers["authorization"] == resigned(call, cloud.host, "secret-1")


def test_a_lease_is_renewed_before_it_ends(cloud, tmp_path):
    """Requests meanwhile are signed with the one at hand; none of them waits."""
    sts = Sts(cloud, lifetime_s=6)
    role = aws(role_arn="arn:aws:iam::1:role/finops")
    with Gateway(settings(cloud, "bedrock", role), tmp_path, env=sts.env) as gateway:
        assert converse(gateway).status == 200
        until, slowest = time.monotonic() + 8, 0.0
        while time.monotonic() < until:
            begun = time.monotonic()
            answer = converse(gateway)
            slowest = max(slowest, time.monotonic() - begun)
            assert answer.status == 200, answer.body
            time.sleep(0.05)
        assert last_model_call(cloud).headers["x-amz-security-token"] != "token-1"
        assert len(sts.asked) >= 3 and slowest < 0.5


def test_a_refused_role_is_said_and_tried_again(cloud, tmp_path):
    sts = Sts(cloud)
    sts.refusal = "not authorized to perform: sts:AssumeRole"
    role = aws(role_arn="arn:aws:iam::1:role/finops")
    with Gateway(settings(cloud, "bedrock", role), tmp_path, env=sts.env) as gateway:
        answer = converse(gateway)
        message = answer.json["message"]
        assert answer.status == 502 and "not authorized to perform: sts:AssumeRole" in message
        assert "bedrock-0" in message and SECRET not in message
        assert answer.headers["x-amzn-errortype"]
        answer = gateway.post("/anthropic/v1/messages", ask("bedrock/amazon.nova-lite-v1:0"))
        assert "sts:AssumeRole" in answer.json["error"]["message"]
        sts.refusal = None
        time.sleep(1.1)
        assert converse(gateway).status == 200
        assert cloud.calls("/model/")


def test_another_key_is_used_where_one_has_no_credential(cloud, tmp_path):
    sts = Sts(cloud)
    sts.refusal = "no"
    keys = aws(role_arn="arn:aws:iam::1:role/x") | {"weight": 1000}, aws() | {"weight": 0.0001}
    with Gateway(settings(cloud, "bedrock", *keys), tmp_path, env=sts.env) as gateway:
        assert converse(gateway).status == 200
    assert "Credential=AKIDEXAMPLE/" in last_model_call(cloud).headers["authorization"]


def chain(cloud: Cloud, tmp_path, env: dict[str, str], secret: str) -> Asked:
    """One call with a key that names no credentials at all."""
    key = {"bedrock_key_config": {"region": "eu-west-3"}}
    with Gateway(settings(cloud, "bedrock", key), tmp_path, env=env) as gateway:
        answer = converse(gateway)
        assert answer.status == 200, (answer.body, gateway.logged())
    asked = last_model_call(cloud)
    assert asked.headers["authorization"] == resigned(asked, cloud.host, secret)
    return asked


def test_the_default_chain_of_aws(cloud, tmp_path):
    """Environment, profile, web identity, container, machine."""
    off = {"AWS_EC2_METADATA_DISABLED": "true"}
    pair = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "env-secret"}
    asked = chain(cloud, tmp_path, off | pair, "env-secret")
    assert "Credential=AKIDENV/" in asked.headers["authorization"]

    shared = tmp_path / "credentials"
    shared.write_text(
        "[default]\naws_access_key_id=AKIDNO\naws_secret_access_key=no\n"
        "[team]\naws_access_key_id=AKIDTEAM\naws_secret_access_key=team-secret\n"
    )
    profile = {"AWS_SHARED_CREDENTIALS_FILE": str(shared), "AWS_PROFILE": "team"}
    asked = chain(cloud, tmp_path, off | profile, "team-secret")
    assert "Credential=AKIDTEAM/" in asked.headers["authorization"]

    sts = Sts(cloud)
    token = tmp_path / "token"
    token.write_text("signed-by-the-cluster")
    identity = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        "AWS_ROLE_ARN": "arn:aws:iam::1:role/pod",
        "AWS_ROLE_SESSION_NAME": "pod",
    }
    asked = chain(cloud, tmp_path, sts.env | identity, "secret-1")
    assert asked.headers["x-amz-security-token"] == "token-1"
    form = sts.asked[0].form
    assert form["Action"] == "AssumeRoleWithWebIdentity"
    assert form["WebIdentityToken"] == "signed-by-the-cluster"

    given = {"AccessKeyId": "ASIAECS", "SecretAccessKey": "ecs-secret", "Token": "ecs-token"}
    given |= {"Expiration": in_s(3600), "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": in_s(0)}
    cloud.route("/ecs", lambda _: given)
    asked = chain(
        cloud, tmp_path, off | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{cloud.url}/ecs"}, "ecs-secret"
    )
    assert asked.headers["x-amz-security-token"] == "ecs-token"

    given = given | {"AccessKeyId": "ASIAEC2", "SecretAccessKey": "ec2-secret"}
    ttl = {"kind": "text/plain", "x_aws_ec2_metadata_token_ttl_seconds": "21600"}
    cloud.route("/latest/api/token", lambda _: said("imds-token", **ttl))
    folder = "/latest/meta-data/iam/security-credentials/"
    cloud.route(folder, lambda _: said("machine-role", kind="text/plain"))
    cloud.route(f"{folder}machine-role", lambda _: given)
    asked = chain(cloud, tmp_path, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": cloud.url}, "ec2-secret")
    assert "Credential=ASIAEC2/" in asked.headers["authorization"]


# -- Google ----------------------------------------------------------------------------------


def vertex(credentials: object = None, **key: str) -> dict:
    block = {"project_id": "acme", "region": "europe-west1"}
    if credentials is not None:
        block["auth_credentials"] = json.dumps(credentials)
    return {"vertex_key_config": block} | key


class Tokens:
    """A token endpoint: `token-1`, `token-2`, …"""

    def __init__(self, cloud: Cloud, path: str = "/token", lifetime_s: int = 3600) -> None:
        self.asked: list[Asked] = []
        self.refusal: dict | None = None
        self.lifetime_s: object = lifetime_s
        self.url = f"{cloud.url}{path}"
        cloud.route(path, self.answer)

    def answer(self, asked: Asked):
        self.asked.append(asked)
        if self.refusal:
            return said(self.refusal, 400)
        token = f"token-{len(self.asked)}"
        return {"access_token": token, "expires_in": self.lifetime_s, "token_type": "Bearer"}


def service_account(url: str) -> dict:
    key = (ROOT / "tests/data/rsa_test_key.pem").read_text()
    email = "gw@acme.iam.gserviceaccount.com"
    return {"type": "service_account", "client_email": email, "private_key": key, "token_uri": url}


def generate(gateway: Gateway):
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    return gateway.post("/genai/v1beta/models/vertex%2Fgemini-2.5-pro:generateContent", body)


def bearer_of(cloud: Cloud, gateway: Gateway) -> str:
    """With what the last call to a model came."""
    answer = generate(gateway)
    assert answer.status == 200, (answer.body, gateway.logged())
    asked = cloud.calls("/v1/projects/acme/locations/europe-west1/publishers/google/")[-1]
    return asked.headers["authorization"]


def test_a_service_account_of_google(cloud, tmp_path):
    tokens = Tokens(cloud)
    key = vertex(service_account(tokens.url))
    with Gateway(settings(cloud, "vertex", key), tmp_path) as gateway:
        assert bearer_of(cloud, gateway) == "Bearer token-1"
        assert bearer_of(cloud, gateway) == "Bearer token-1"
    (asked,) = tokens.asked
    assert asked.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = asked.form["assertion"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert claims["iss"].startswith("gw@acme") and claims["aud"] == tokens.url
    assert abs(claims["iat"] - time.time()) < 60


def test_the_other_credentials_of_google(cloud, tmp_path):
    """A user's, another identity provider's with impersonation, the file and the machine."""
    tokens = Tokens(cloud)
    user = {"type": "authorized_user", "client_id": "c", "client_secret": "s"}
    user |= {"refresh_token": "r", "token_uri": tokens.url}
    with Gateway(settings(cloud, "vertex", vertex(user)), tmp_path) as gateway:
        assert bearer_of(cloud, gateway) == "Bearer token-1"
    assert tokens.asked[0].form["refresh_token"] == "r"

    subject = tmp_path / "subject"
    subject.write_text("signed-by-another")
    path = "/v1/projects/-/serviceAccounts/gw@acme:generateAccessToken"
    acting = {"accessToken": "acting-as", "expireTime": in_s(3600)}
    cloud.route(path, lambda _: acting)
    external = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": tokens.url,
        "credential_source": {"file": str(subject)},
        "service_account_impersonation_url": cloud.url + path,
    }
    with Gateway(settings(cloud, "vertex", vertex(external)), tmp_path) as gateway:
        assert bearer_of(cloud, gateway) == "Bearer acting-as"
    assert tokens.asked[1].form["subject_token"] == "signed-by-another"
    assert cloud.calls(path)[0].headers["authorization"] == "Bearer token-2"

    file = tmp_path / "default.json"
    file.write_text(json.dumps(service_account(tokens.url)))
    env = {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    with Gateway(settings(cloud, "vertex", vertex()), tmp_path, env=env) as gateway:
        assert bearer_of(cloud, gateway) == "Bearer token-3"

    machine = "/computeMetadata/v1/instance/service-accounts/default/token"
    cloud.route(machine, lambda _: {"access_token": "machine", "expires_in": 3599})
    env = {"GCE_METADATA_HOST": cloud.host}
    with Gateway(settings(cloud, "vertex", vertex()), tmp_path, env=env) as gateway:
        assert bearer_of(cloud, gateway) == "Bearer machine"
    assert cloud.calls(machine)[0].headers["metadata-flavor"] == "Google"


def test_a_token_is_renewed_ahead_and_a_refusal_is_said(cloud, tmp_path):
    tokens = Tokens(cloud, lifetime_s=2)
    key = vertex(service_account(tokens.url))
    with Gateway(settings(cloud, "vertex", key), tmp_path) as gateway:
        assert bearer_of(cloud, gateway) == "Bearer token-1"
        time.sleep(1.5)
        assert bearer_of(cloud, gateway) == "Bearer token-2"
    tokens.refusal = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    with Gateway(settings(cloud, "vertex", key), tmp_path) as gateway:
        answer = generate(gateway)
        error = answer.json["error"]
        assert answer.status == 502 and error["code"] == 502
        assert "invalid_grant: Invalid JWT Signature." in error["message"]
        tokens.refusal = None
        time.sleep(1.1)
        assert bearer_of(cloud, gateway).startswith("Bearer token-")


def test_token_endpoints_are_trusted_as_upstreams_are(cloud, tmp_path):
    """Over TLS with a certificate of this host's roots; without it the client is told."""
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with Cloud((certificate, key)) as secure:
        tokens = Tokens(secure)
        account = vertex(service_account(tokens.url))
        trusting = {"SSL_CERT_FILE": certificate}
        with Gateway(settings(cloud, "vertex", account), tmp_path, env=trusting) as gateway:
            assert bearer_of(cloud, gateway) == "Bearer token-1"
        with Gateway(settings(cloud, "vertex", account), tmp_path) as gateway:
            answer = generate(gateway)
            assert answer.status == 502 and "certificate" in answer.json["error"]["message"]


# -- Azure -----------------------------------------------------------------------------------


def azure(cloud: Cloud, **block: object) -> dict:
    return {"azure_key_config": {"endpoint": cloud.url} | block}


def test_client_credentials_of_entra(cloud, tmp_path):
    tokens = Tokens(cloud, "/acme/oauth2/v2.0/token")
    env = {"AZURE_AUTHORITY_HOST": cloud.url}
    key = azure(cloud, client_id="app", client_secret="app-secret", tenant_id="acme")
    with Gateway(settings(cloud, "azure", key), tmp_path, env=env) as gateway:
        answer = gateway.post("/openai/v1/chat/completions", ask("azure/gpt-4o"))
        assert answer.status == 200, answer.body
        assert gateway.post("/anthropic/v1/messages", ask("azure/claude-sonnet-4-5")).status == 200
    (asked,) = tokens.asked
    assert asked.form == {
        "grant_type": "client_credentials",
        "client_id": "app",
        "client_secret": "app-secret",
        "scope": "https://cognitiveservices.azure.com/.default",
    }
    (chat,) = cloud.calls("/openai/deployments/gpt-4o/chat/completions?api-version=")
    (claude,) = cloud.calls("/anthropic/v1/messages")
    for call in (chat, claude):
        assert call.headers["authorization"] == "Bearer token-1"
        assert "api-key" not in call.headers and "x-api-key" not in call.headers


def test_the_managed_identity_of_azure(cloud, tmp_path):
    tokens = Tokens(cloud, "/metadata/identity/oauth2/token")
    tokens.lifetime_s = "86399"
    env = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url}
    with Gateway(settings(cloud, "azure", azure(cloud)), tmp_path, env=env) as gateway:
        answer = gateway.post("/openai/v1/chat/completions", ask("azure/gpt-4o"))
        assert answer.status == 200, answer.body
    (asked,) = tokens.asked
    assert asked.headers["metadata"] == "true" and "resource=https%3A%2F%2Fcogn" in asked.target
    assert cloud.calls("/openai/")[0].headers["authorization"] == "Bearer token-1"


# -- Claude, in each cloud's envelope ----------------------------------------------------------

TAKEN, OTHER = "interleaved-thinking-2025-05-14", "skills-2025-10-02"
BEDROCK_CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"


def test_beta_flags_go_where_the_cloud_looks_for_them(cloud, tmp_path):
    """Into the body of Invoke and rawPredict, a header for Azure; each only those that are taken."""
    tokens = Tokens(cloud)
    providers: dict = {}
    for name, key in (
        ("bedrock", aws()),
        ("vertex", vertex(service_account(tokens.url))),
        ("azure", azure(cloud) | {"value": "azure-key"}),
    ):
        providers |= settings(cloud, name, key)["providers"]
    flags = {"anthropic-beta": f"{TAKEN},{OTHER}"}
    with Gateway({"version": 2, "providers": providers}, tmp_path) as gateway:

        def sent(path: str, body: dict, **headers: str) -> Asked:
            cloud.asked.clear()
            answer = gateway.post(path, body, flags | headers)
            assert answer.status == 200, (answer.body, gateway.logged())
            assert b"hello" in answer.body
            return [a for a in cloud.asked if not a.target.startswith("/token")][-1]

        messages = "/anthropic/v1/messages"
        asked = sent(messages, ask(f"bedrock/{BEDROCK_CLAUDE}"))
        assert asked.json["anthropic_beta"] == [TAKEN] and "anthropic-beta" not in asked.headers
        assert asked.json["anthropic_version"] == "bedrock-2023-05-31"
        assert "model" not in asked.json and "stream" not in asked.json
        assert asked.headers["authorization"] == resigned(asked, cloud.host, SECRET)

        own = ask("m", anthropic_version="bedrock-2023-05-31", anthropic_beta=[OTHER, TAKEN])
        del own["model"]
        asked = sent(f"/bedrock/model/{BEDROCK_CLAUDE}/invoke", own)
        assert asked.json["anthropic_beta"] == [TAKEN]

        asked = sent(messages, ask("vertex/claude-sonnet-4-5@20250929"))
        assert asked.json["anthropic_beta"] == [TAKEN] and "anthropic-beta" not in asked.headers
        assert asked.json["anthropic_version"] == "vertex-2023-10-16"
        assert "model" not in asked.json and asked.target.endswith(":rawPredict")
        asked = sent("/openai/v1/chat/completions", ask("vertex/claude-sonnet-4-5@20250929"))
        assert asked.json["anthropic_version"] == "vertex-2023-10-16"
        assert "model" not in asked.json and not asked.json.get("stream")

        asked = sent(messages, ask("azure/claude-sonnet-4-5"))
        assert asked.headers["anthropic-beta"] == f"{TAKEN},{OTHER}"
        assert asked.headers["x-api-key"] == "azure-key" and "anthropic_beta" not in asked.json

        profile = f"bedrock/{ARN}"
        asked = sent("/openai/v1/chat/completions", ask(profile))
        assert asked.json["additionalModelRequestFields"]["anthropic_beta"] == [TAKEN]
        asked = sent("/openai/v1/chat/completions", ask("bedrock/amazon.nova-pro-v1:0"))
        assert "additionalModelRequestFields" not in asked.json


def test_claude_on_vertex_is_told_to_stream(cloud, tmp_path):
    tokens = Tokens(cloud)
    stream = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    begun = {"type": "message_start", "message": {**MESSAGE, "content": []}}
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
    stream = b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in (begun, ended)
    ) + stream
    path = "/v1/projects/acme/locations/europe-west1/publishers/anthropic/"
    cloud.route(path, lambda _: said(stream, kind="text/event-stream"))
    key = vertex(service_account(tokens.url))
    with Gateway(settings(cloud, "vertex", key), tmp_path) as gateway:
        model = "vertex/claude-sonnet-4-5@20250929"
        for at in ("/anthropic/v1/messages", "/openai/v1/chat/completions"):
            answer = gateway.post(at, ask(model, stream=True))
            assert answer.status == 200, answer.body
            assert answer.body
            asked = cloud.calls(path)[-1]
            assert asked.target.endswith("@20250929:streamRawPredict")
            assert asked.json["stream"] is True and "model" not in asked.json


def test_bodies_of_bedrock_reach_anthropic_as_messages(cloud, tmp_path):
    """Claude Code's Bedrock mode on another provider: what the path said is said in the body."""
    with Gateway(settings(cloud, "anthropic", {"value": "sk-1"}), tmp_path) as gateway:
        body = ask("m", anthropic_version="bedrock-2023-05-31", anthropic_beta=[TAKEN])
        del body["model"]
        answer = gateway.post("/bedrock/model/anthropic%2Fclaude-sonnet-4-5/invoke", body)
        assert answer.status == 200, answer.body
    (asked,) = cloud.asked
    assert asked.headers["anthropic-beta"] == TAKEN and asked.json["model"] == "claude-sonnet-4-5"
    assert "anthropic_version" not in asked.json and "anthropic_beta" not in asked.json


def test_every_row_of_azure_and_vertex(cloud, tmp_path):
    """Deployments, Responses, Foundry; Gemini, Mistral, the OpenAPI endpoint; families by alias."""
    tokens = Tokens(cloud)
    alias = {"prod": {"model_id": "prod-llm", "model_family": "anthropic"}}
    azure_key = azure(cloud, api_version="2025-01-01-preview") | {"value": "k", "aliases": alias}
    providers = settings(cloud, "azure", azure_key)["providers"]
    providers |= settings(cloud, "vertex", vertex(service_account(tokens.url)))["providers"]
    vertex_path = "/v1/projects/acme/locations/europe-west1/"
    made = {"id": "resp_1", "object": "response", "status": "completed", "output": [], "model": "m"}
    cloud.route("/openai/v1/responses", lambda _: made)
    with Gateway({"version": 2, "providers": providers}, tmp_path) as gateway:
        chat, messages = "/openai/v1/chat/completions", "/anthropic/v1/messages"
        for at, body, target in (
            (chat, ask("azure/gpt-4o"), "/openai/deployments/gpt-4o/chat/completions?api-version=2025-01-01-preview"),
            (messages, ask("azure/gpt-4o"), "/openai/deployments/gpt-4o/chat/completions?api-version=2025-01-01-preview"),
            ("/openai/v1/responses", {"model": "azure/gpt-4o", "input": "hi"}, "/openai/v1/responses"),
            (chat, ask("azure/prod"), "/anthropic/v1/messages"),
            (chat, ask("vertex/mistral-large-2411"), f"{vertex_path}publishers/mistralai/models/mistral-large-2411:rawPredict"),
            (chat, ask("vertex/meta/llama-4-maas"), f"{vertex_path}endpoints/openapi/chat/completions"),
            (messages, ask("vertex/gemini-2.5-pro"), f"{vertex_path}publishers/google/models/gemini-2.5-pro:generateContent"),
        ):
            cloud.asked.clear()
            answer = gateway.post(at, body)
            assert answer.status == 200, (at, body, answer.body)
            asked = [a for a in cloud.asked if not a.target.startswith("/token")][-1]
            assert asked.target == target
            wanted = "authorization" if body["model"].startswith("vertex") else "api-key"
            assert wanted in asked.headers or asked.headers["x-api-key"] == "k"


def test_signatures_of_clients_are_verified(cloud, tmp_path):
    """boto3's signature, made with a secret that the configuration knows; its key is a caller's."""
    given = settings(cloud, "bedrock", aws())
    given["client"] = {
        "enforce_auth_on_inference": True,
        "aws_clients": [
            {"access_key_id": "AKIDTEAM", "secret_access_key": "team-secret", "virtual_key": "sk-bf-team"}
        ],
    }
    grant = [{"provider": "bedrock", "allowed_models": ["*"], "key_ids": ["*"]}]
    key = {"id": "team", "name": "team", "value": "sk-bf-team", "provider_configs": grant}
    given["governance"] = {"virtual_keys": [key]}
    with Gateway(given, tmp_path) as gateway:

        def called(secret: str, access_key: str = "AKIDTEAM") -> dict:
            script = DRIVERS / "converse.py"
            done = subprocess.run(
                [PYTHON, script, gateway.url + "/bedrock", access_key, secret],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            return json.loads(done.stdout)

        assert called("team-secret")["text"] == "hello"
        refused = called("another-secret")
        assert (refused["status"], refused["code"]) == (403, "AccessDeniedException")
        assert "signature does not match" in refused["message"]
        assert called("whatever", "sk-bf-team")["text"] == "hello", "the id itself is a key"
        assert called("whatever", "AKIDNOBODY")["status"] in (401, 403)
    assert len(cloud.calls("/model/")) == 2
