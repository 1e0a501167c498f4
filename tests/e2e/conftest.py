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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`sdk` runs a test for each SDK; `anthropic_sdk` for those of that dialect."""
    for fixture, dialects in (("sdk", ("anthropic", "openai")), ("anthropic_sdk", ("anthropic",))):
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
        driver.close()


@pytest.fixture
def drive(the_drivers: dict[str, Driver], upstream: Upstream, request: pytest.FixtureRequest):
    """Gives the driver of an SDK, pointed at the gateway."""
    if DIRECT:
        bases = {"anthropic": upstream.url, "openai": upstream.url}
    else:
        url = request.getfixturevalue("gateway").url
        bases = {"anthropic": f"{url}/anthropic", "openai": f"{url}/openai"}

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
