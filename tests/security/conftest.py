"""Fixtures of the security tests: the attacked server, and the check after every test that it is unharmed."""

from collections.abc import Iterator

import pytest

from tests.support import attacked_server
from tests.support.attacked_server import AttackedServer


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedServer]:
    """A server without API keys."""
    with attacked_server.running(tmp_path_factory.mktemp("allowed")) as target:
        yield target


@pytest.fixture(autouse=True)
def _unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Asserts after every test that the attack reached no internal host and that the server still serves."""
    target = request.getfixturevalue("target") if "target" in request.fixturenames else None
    yield
    if target is not None:
        target.assert_unharmed()
