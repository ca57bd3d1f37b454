"""The threads that decode and resize: off the event loop, in native code that releases the GIL."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from llava_interleave_serve.server.errors import MediaError

T = TypeVar("T")


class DecodePool:
    """Runs decoders, as many at once as there are cores, each for a limited time."""

    def __init__(self, timeout: float, workers: int | None = None) -> None:
        torch.set_num_threads(1)  # the pool is the parallelism
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="decode")

    async def run(self, decode: Callable[[], T], *, param: str) -> T:
        """The decoder's result; raises what it raises, and MediaError when it takes too long."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, decode)
        try:
            return await asyncio.wait_for(future, self._timeout)
        except TimeoutError:
            raise MediaError(f"the media could not be decoded within {self._timeout:g} s", param=param) from None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
