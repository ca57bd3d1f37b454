from collections.abc import Iterator

import pytest

from llava_interleave_serve.server.media import native


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The media path as it is where nothing compiles."""
    native.library.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    yield
    native.library.cache_clear()
