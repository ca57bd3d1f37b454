from collections.abc import Iterator

import pytest

from llava_interleave_serve.server.media.native import build


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs a test as on a machine without a C compiler."""
    build.compile_once.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    yield
    build.compile_once.cache_clear()
