"""The threads that decode and resize: off the event loop, in native code that releases the GIL."""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from llava_interleave_serve.server.media.native import build

T = TypeVar("T")
IDLE_SECONDS = 1.0  # after which what the decoders used goes back to the system


class DecodePool:
    """Runs decoders, as many at once as there are cores."""

    def __init__(self, workers: int | None = None) -> None:
        self._threads = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), thread_name_prefix="decode")
        self._threads.submit(build.library)  # compiled before it is needed
        self._running = 0
        self._idle: asyncio.TimerHandle | None = None

    async def run(self, decode: Callable[[], T]) -> T:
        """The decoder's result; raises what it raises. One that has not begun when this is cancelled never does."""
        loop = asyncio.get_running_loop()
        self._running += 1
        try:
            return await loop.run_in_executor(self._threads, decode)
        finally:
            self._running -= 1
            if self._idle is not None:
                self._idle.cancel()
            self._idle = loop.call_later(IDLE_SECONDS, self._let_go)

    def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _let_go(self) -> None:
        """glibc keeps what the largest pictures took, in every thread: wanted while they come, and not for ever."""
        if self._running == 0:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                self._threads.submit(_trim)


def _trim() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
