"""Runs image decoding and resizing in threads: native code that releases the GIL, off the event loop."""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from llava_interleave_serve.server.media.native import build

T = TypeVar("T")
IDLE_SECONDS = 1.0  # without a decoder at work, after which freed memory goes back to the system


class DecodePool:
    """Runs decoders in `workers` threads, by default as many as the process has cores."""

    def __init__(self, workers: int | None = None) -> None:
        self._threads = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), thread_name_prefix="decode")
        self._threads.submit(build.library)  # so that the first request does not wait for the compiler
        self._running = 0
        self._trim_timer: asyncio.TimerHandle | None = None

    async def run(self, decode: Callable[[], T]) -> T:
        """Returns the decoder's result, or raises its error. If cancelled, a decoder that has not begun never does."""
        loop = asyncio.get_running_loop()
        self._running += 1
        try:
            return await loop.run_in_executor(self._threads, decode)
        finally:
            self._running -= 1
            if self._trim_timer is not None:
                self._trim_timer.cancel()
            self._trim_timer = loop.call_later(IDLE_SECONDS, self._trim_if_idle)

    def close(self) -> None:
        """Drops the decoders that have not begun, without waiting for those that have.

        A decoder cannot be interrupted, and the interpreter joins its thread when it exits. So the server's process
        ends by os._exit (cli.py), whatever still decodes.
        """
        if self._trim_timer is not None:
            self._trim_timer.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _trim_if_idle(self) -> None:
        # glibc's allocator keeps the memory of the largest images in each thread, which saves time only as long as
        # further images come.
        if self._running == 0:
            with contextlib.suppress(RuntimeError):  # the pool has been closed
                self._threads.submit(_trim_heap)


def _trim_heap() -> None:
    """Returns freed memory to the system, where the C library can (malloc_trim of glibc)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
