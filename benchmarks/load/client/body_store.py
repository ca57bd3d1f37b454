"""Bodies of requests on disk: all made before the run, so that sending one costs a read and no work."""

import os
import tempfile
from types import TracebackType
from typing import Self


class BodyStore:
    """A temporary file of request bodies, by the request's number; deleted when the store is left.

    Add all bodies, call `flush`, and only then read.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._spans: dict[int, tuple[int, int]] = {}  # start and length
        self._size = 0

    def add(self, number: int, body: bytes) -> None:
        """Appends a body."""
        self._file.write(body)
        self._spans[number] = (self._size, len(body))
        self._size += len(body)

    def flush(self) -> None:
        """Makes the bodies added so far readable."""
        self._file.flush()

    def read(self, number: int) -> bytes:
        """The body of that number. Raises KeyError if there is none."""
        start, length = self._spans[number]
        return os.pread(self._file.fileno(), length, start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
