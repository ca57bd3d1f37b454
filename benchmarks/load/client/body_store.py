"""Bodies of requests on disk: all made before the run, so that sending one costs a read and no work."""

import os
import tempfile
from types import TracebackType
from typing import Self


class Spool:
    """A temporary file of bodies, by number."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._places: dict[int, tuple[int, int]] = {}
        self.bytes = 0

    def add(self, number: int, body: bytes) -> None:
        self._file.write(body)
        self._places[number] = (self.bytes, len(body))
        self.bytes += len(body)

    def sealed(self) -> None:
        """Makes what was added readable."""
        self._file.flush()

    def body(self, number: int) -> bytes:
        """The body of that number. Raises KeyError if there is none."""
        start, length = self._places[number]
        return os.pread(self._file.fileno(), length, start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
