"""Runs work that several tasks want at the same time once, as Go's golang.org/x/sync/singleflight does."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class _Call(Generic[T]):
    """Work under way.

    Attributes:
        task: runs the work.
        waiters: how many callers of `run` wait for its result.

    """

    task: asyncio.Task[T]
    waiters: int = 0


class SingleFlight(Generic[T]):
    """Shares the result of work among all who ask for it, by the same key, while it is under way.

    Results are not cached: once the work is done, the next to ask starts it again. Unlike Go's, work that nobody waits
    for any more is cancelled.
    """

    def __init__(self) -> None:
        self._calls: dict[Hashable, _Call[T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Starts `work`, or joins the work with this key that is under way; returns its result, or raises its error.

        Cancelling one caller leaves the work to the others; cancelling the last cancels it.
        """
        call = self._calls.get(key)
        # The task's end is known before `_forget` runs. A result taken in between would come without a wait, and who
        # asks again after an error would have the same error, for ever, while nothing else can run.
        if call is None or call.task.done():
            call = self._calls[key] = _Call(asyncio.ensure_future(work()))  # type: ignore[arg-type]
            call.task.add_done_callback(functools.partial(self._forget, key, call))
        call.waiters += 1
        try:
            return await asyncio.shield(call.task)
        finally:
            call.waiters -= 1
            if call.waiters == 0:
                self._forget(key, call)
                call.task.cancel()
            # An error's traceback refers to this frame, and the task to the error. Without this, the frame would refer
            # to the task, and what the work held, a whole image say, would stay until the garbage collector runs.
            del call

    def _forget(self, key: Hashable, call: _Call[T], _done: object = None) -> None:
        if self._calls.get(key) is call:
            del self._calls[key]
