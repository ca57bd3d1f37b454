"""The threads that decode and resize: off the event loop, in native code that releases the GIL."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from llava_interleave_serve.server.media import native

T = TypeVar("T")


class DecodePool:
    """Runs decoders, as many at once as there are cores."""

    def __init__(self, workers: int | None = None) -> None:
        self._threads = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), thread_name_prefix="decode")
        self._threads.submit(native.library)  # compiled before it is needed

    async def run(self, decode: Callable[[], T]) -> T:
        """The decoder's result; raises what it raises. One that has not begun when this is cancelled never does."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, decode)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
