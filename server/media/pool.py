"""The threads that decode and resize: off the event loop, in native code that releases the GIL."""

import asyncio
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from llava_interleave_serve.server.media import native

T = TypeVar("T")
MIB = 1 << 20
# glibc's, of malloc.h: from how many bytes on a block is the system's own, and goes back to it when it is freed; and
# how many free bytes are kept otherwise. Left alone, the first grows with every larger picture.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE_BYTES, KEPT_BYTES = 8 * MIB, 16 * MIB


class DecodePool:
    """Runs decoders, as many at once as there are cores."""

    def __init__(self, workers: int | None = None) -> None:
        _let_go_of_large_pictures()
        self._threads = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), thread_name_prefix="decode")
        self._threads.submit(native.library)  # compiled before it is needed

    async def run(self, decode: Callable[[], T]) -> T:
        """The decoder's result; raises what it raises. One that has not begun when this is cancelled never does."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, decode)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _let_go_of_large_pictures() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
