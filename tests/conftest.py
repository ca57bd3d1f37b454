"""Fixtures that every test may use."""

import importlib

import pytest
from hypothesis import settings

from tests.playground import chromium
from tests.support.fakes import platform

# Tests of kernels run Triton's interpreter. Triton's own functions, which kernels call, are interpreted or not for good
# when they are imported, and any test's imports may bring them: so they come first.
with platform.interpreted_kernels():
    importlib.import_module("triton.language")

# A busy machine is no fault of the code.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")


@pytest.fixture
def anyio_backend() -> str:
    """The server runs on asyncio alone."""
    return "asyncio"


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's code takes the platform for a GPU, whatever this machine has."""
    platform.take_for_a_gpu(monkeypatch)


@pytest.fixture(params=platform.PLATFORMS)
def on_every_platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the test once with the server's code on a CPU, and once on a GPU, whatever this machine has."""
    platform.serve_on(request.param, monkeypatch)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for mark in ("clients", "parallel"):
        if mark not in config.option.markexpr:
            for item in items:
                if item.get_closest_marker(mark):
                    item.add_marker(pytest.mark.skip(reason=f"`make {mark}-check` runs it"))
    on_a_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_a_gpu and not platform.compiles_for_a_gpu():
        for item in on_a_gpu:
            item.add_marker(pytest.mark.skip(reason=platform.GPU_MISSING))
    in_a_browser = [item for item in items if item.get_closest_marker("browser")]
    if in_a_browser and chromium.path() is None:
        for item in in_a_browser:
            item.add_marker(pytest.mark.skip(reason=chromium.MISSING))
