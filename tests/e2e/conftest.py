"""One scripted upstream, one gateway and one process per SDK for the whole run.

With FINOPS_E2E_DIRECT=1 the SDKs speak to the scripted upstream itself and everything that needs
a gateway is skipped: it shows that the scripts satisfy the SDKs, so that a failure of the ordinary
run is the gateway's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from gateway import Gateway, config
from sdks import SDKS, Driver, Sdk
from upstream import Upstream

DIRECT = os.environ.get("FINOPS_E2E_DIRECT") == "1"


# Which SDKs a test runs for that asks for a fixture of this name.
CHOICES = {
    "sdk": ("anthropic", "openai"),
    "any_sdk": ("anthropic", "openai", "responses", "azure", "bedrock", "invoke", "gemini"),
    "anthropic_sdk": ("anthropic",),
    "responses_sdk": ("responses",),
    "azure_sdk": ("azure",),
    "bedrock_sdk": ("bedrock",),
    "gemini_sdk": ("gemini",),
}

# The languages of upstreams, and how a script is named at a provider that speaks each. Claude on
# Bedrock is spoken to in Messages by those who speak them, and in Converse by all others.
PLACES = {
    "anthropic": "anthropic/{}",
    "chat": "acme/{}",
    "responses": "acme-responses/{}",
    "gemini": "gemini/{}",
    "bedrock": "bedrock/{}",
    "claude": "bedrock/us.anthropic.claude.{}-v1:0",
}
# The upstream of an SDK's own language, and how a script is named for it.
OWN = {
    "anthropic": ("anthropic", "{}"),
    "openai": ("chat", "{}"),
    "azure": ("chat", "{}"),
    "responses": ("responses", "{}"),
    "gemini": ("gemini", "{}"),
    "bedrock": ("bedrock", "{}"),
    "invoke": ("claude", "us.anthropic.claude.{}-v1:0"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`sdk` runs a test for the SDKs of Messages and Chat; the others as `CHOICES` says."""
    for fixture, dialects in CHOICES.items():
        if fixture in metafunc.fixturenames:
            chosen = [sdk for sdk in SDKS.values() if sdk.dialect in dialects]
            metafunc.parametrize(fixture, chosen, ids=[sdk.name for sdk in chosen])


@pytest.fixture(scope="session")
def the_upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(the_upstream: Upstream, tmp_path) -> Upstream:
    the_upstream.take()
    the_upstream.scripts.clear()
    the_upstream.work = str(tmp_path)
    return the_upstream


@pytest.fixture(scope="session")
def the_gateway(the_upstream: Upstream, tmp_path_factory) -> Iterator[Gateway]:
    if DIRECT:
        pytest.skip("needs the gateway")
    with Gateway(config(the_upstream.url), tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def gateway(the_gateway: Gateway, upstream: Upstream) -> Iterator[Gateway]:
    yield the_gateway
    code = the_gateway.process.poll()
    assert code is None, f"the gateway died with {code}:\n{the_gateway.logged()}"


@pytest.fixture(scope="session")
def the_drivers() -> Iterator[dict[str, Driver]]:
    drivers: dict[str, Driver] = {}
    yield drivers
    for driver in drivers.values():
        driver.process.stdin.close()
    for driver in drivers.values():
        driver.end()


@pytest.fixture
def drive(the_drivers: dict[str, Driver], upstream: Upstream, request: pytest.FixtureRequest):
    """Gives the driver of an SDK, pointed at the gateway."""
    if DIRECT:
        bases = dict.fromkeys(OWN, upstream.url)
    else:
        url = request.getfixturevalue("gateway").url
        openai = dict.fromkeys(("openai", "responses", "azure"), f"{url}/openai")
        aws = dict.fromkeys(("bedrock", "invoke"), f"{url}/bedrock")
        bases = {"anthropic": f"{url}/anthropic", "gemini": f"{url}/genai"} | openai | aws

    def driver(sdk: Sdk) -> Driver:
        if sdk.name not in the_drivers:
            the_drivers[sdk.name] = Driver(sdk, bases[sdk.dialect])
        return the_drivers[sdk.name]

    return driver


@pytest.fixture(params=["same", "across"])
def direction(request: pytest.FixtureRequest) -> str:
    if DIRECT and request.param == "across":
        pytest.skip("needs the gateway")
    return request.param


@pytest.fixture
def model(direction: str):
    """The model name under which a script is reached from an SDK, in either direction."""

    def named(sdk: Sdk, script: str) -> str:
        other = "openai" if sdk.dialect == "anthropic" else "anthropic"
        return script if direction == "same" else f"{other}/{script}"

    return named


@pytest.fixture(params=PLACES)
def spoken(request: pytest.FixtureRequest) -> str:
    """The language of the upstream."""
    return request.param


@pytest.fixture
def placed(spoken: str):
    """The model name under which a script is reached from an SDK, at an upstream of each language."""

    def named(sdk: Sdk, script: str) -> str:
        own, pattern = OWN[sdk.dialect]
        if own == spoken:
            return pattern.format(script)
        if DIRECT:
            pytest.skip("needs the gateway")
        return PLACES[spoken].format(script)

    return named
