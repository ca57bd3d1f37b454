"""Files in memory are read and written without being mapped."""

from collections.abc import Iterator

import numpy as np
import pytest

from llava_interleave_serve.server.media.decoding.memory_file import MemoryFile


@pytest.fixture
def file() -> Iterator[MemoryFile]:
    file = MemoryFile()
    yield file
    file.close()


def test_what_is_written_is_read_and_a_shorter_content_leaves_the_rest(file: MemoryFile) -> None:
    file.write(b"a long content")
    file.write(b"A sh")
    assert file.read(4) == b"A sh"
    assert file.read(14) == b"A shng content"


def test_an_array_is_read_as_it_was_written(file: MemoryFile) -> None:
    array = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
    file.write(array.data.cast("B"))
    assert (file.read_array((2, 5, 5, 3)) == array).all()
    assert file.read_array((0, 5, 5, 3)).shape == (0, 5, 5, 3)


def test_a_file_that_is_too_short_is_the_end_and_no_crash(file: MemoryFile) -> None:
    """Mapped memory of a file that another process makes shorter ends this process, by SIGBUS."""
    file.write(b"short")
    with pytest.raises(EOFError):
        file.read(6)
    with pytest.raises(EOFError):
        file.read_array((1 << 20,))


def test_shrinking_frees_what_is_behind_and_never_grows(file: MemoryFile) -> None:
    file.write(b"x" * 10_000)
    file.shrink(100)
    assert file.read(100) == b"x" * 100
    file.shrink(1000)
    with pytest.raises(EOFError):
        file.read(101)
