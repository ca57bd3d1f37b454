"""Reads files of the one folder that the operator allows."""

import os
import stat
from pathlib import Path

from llava_interleave_serve.server.errors import FetchError

NO_SUCH_FILE = "there is no such file in the folder that this server may read"


def size_of(path: str, folder: Path | None) -> int:
    """Bytes of the file. Raises FetchError for what is not a regular file of the folder; None is no folder at all."""
    with os.fdopen(_open(path, folder), "rb", buffering=0) as file:
        return os.fstat(file.fileno()).st_size


def read(path: str, folder: Path | None, size: int) -> bytes:
    """The first `size` bytes of the file, however it has grown. Raises as `size_of` does."""
    with os.fdopen(_open(path, folder), "rb") as file:
        return file.read(size)


def _open(path: str, folder: Path | None) -> int:
    """A descriptor of the file. No message says whether there is such a file outside of the folder."""
    if folder is None:
        raise FetchError("this server reads no local files: send the media as a data URL", param="url")
    try:
        target = Path(path).resolve(strict=True)
        if target.is_relative_to(folder.resolve()) and target.is_file():
            # Without waiting for a writer, should the file have become a pipe.
            descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
    except (OSError, ValueError, RuntimeError):  # RuntimeError: symbolic links in a circle
        pass
    raise FetchError(NO_SUCH_FILE, param="url")
