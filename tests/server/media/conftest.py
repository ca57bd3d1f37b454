from collections.abc import Iterator

import pytest

from llava_interleave_serve.server.media.native import build


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The media path as it is where nothing compiles."""
    build.library.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    yield
    build.library.cache_clear()
