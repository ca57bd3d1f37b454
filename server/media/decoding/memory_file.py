"""Files in anonymous memory (memfd), by which the server and a process that decodes media share bytes."""

import os

import numpy as np


class MemoryFile:
    """A file in anonymous memory. Reading and writing map nothing, so that no other process can make them crash.

    Attributes:
        fd: its descriptor, closed with the object.

    """

    def __init__(self, fd: int | None = None) -> None:
        """Takes over a descriptor, or makes an empty file."""
        self.fd = os.memfd_create("media", os.MFD_CLOEXEC) if fd is None else fd

    def shrink(self, size: int) -> None:
        """Frees what is behind `size` bytes. What stays is faster to write again than fresh memory."""
        if os.fstat(self.fd).st_size > size:
            os.ftruncate(self.fd, size)

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Writes the content at the beginning of the file."""
        remaining, offset = memoryview(content), 0
        while len(remaining) > 0:
            written = os.pwrite(self.fd, remaining, offset)
            remaining, offset = remaining[written:], offset + written

    def read(self, size: int) -> bytes:
        """The first `size` bytes. Raises EOFError if the file ends before."""
        data = os.pread(self.fd, size, 0)  # the system reads up to 2 GiB at once
        if len(data) < size:
            return self.read_array((size,)).tobytes()
        return data

    def read_array(self, shape: tuple[int, ...]) -> np.ndarray:
        """The first bytes as an array of its own: uint8 [shape]. Raises EOFError if the file ends before."""
        array = np.empty(shape, np.uint8)
        remaining, offset = array.reshape(-1).data, 0
        while len(remaining) > 0:
            count = os.preadv(self.fd, [remaining], offset)
            if count == 0:
                raise EOFError
            remaining, offset = remaining[count:], offset + count
        return array

    def close(self) -> None:
        os.close(self.fd)
