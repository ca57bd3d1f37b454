"""Threads whose work is shared fairly among API keys and requests."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from llava_interleave_serve.server.media.fair_semaphore import FairSemaphore
from llava_interleave_serve.server.media.requester import Requester

T = TypeVar("T")


class FairThreads:
    """Runs functions in threads of its own, each key and request in turn.

    A function cannot be interrupted: it counts as its requester's until it returns, even if nobody waits for it.

    name: of the threads. number: of the threads. key_share: as of FairSemaphore.
    """

    def __init__(self, name: str, number: int, key_share: float = 1.0) -> None:
        self._slots = FairSemaphore(number, key_share=key_share)
        self._threads = ThreadPoolExecutor(number, thread_name_prefix=name)

    async def run(self, requester: Requester, function: Callable[..., T], *arguments: Any) -> T:
        """Returns the function's result, or raises its error. If cancelled before its turn, it is never called."""
        loop = asyncio.get_running_loop()
        await self._slots.acquire(requester)

        def release(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(self._slots.release, requester)

        work = self._threads.submit(function, *arguments)
        work.add_done_callback(release)
        return await asyncio.wrap_future(work)

    def close(self) -> None:
        """Calls no more functions; does not wait for those that run."""
        self._threads.shutdown(wait=False, cancel_futures=True)
