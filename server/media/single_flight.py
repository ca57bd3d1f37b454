"""Work that is asked for several times at once, and done once."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    passengers: int = 0


class Flights(Generic[T]):
    """Shares work by its key among those who want it while it is under way; nothing is kept afterwards."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def join(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, or of the same work that is under way; raises what it raises.

        The work is cancelled once everybody who waited for it has been.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(work()))  # type: ignore[arg-type]
            flight.task.add_done_callback(functools.partial(self._forget, key, flight))
        flight.passengers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.passengers -= 1
            if flight.passengers == 0:
                self._forget(key, flight)
                flight.task.cancel()
            # An error's traceback holds this frame, and the task holds the error: a picture would wait in that ring for
            # Python's collector.
            del flight

    def _forget(self, key: Hashable, flight: _Flight[T], _done: object = None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
