"""What every attack meets, and what holds after it."""

from collections.abc import Iterator

import pytest

from tests.support import attacked_server
from tests.support.attacked_server import Attacked


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked_server.running(tmp_path_factory.mktemp("allowed")) as target:
        yield target


@pytest.fixture(autouse=True)
def _unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every attack: nobody was let in, and the next ordinary request is served."""
    target = request.getfixturevalue("target") if "target" in request.fixturenames else None
    yield
    if target is not None:
        target.is_unharmed()
