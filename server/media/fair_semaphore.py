"""A semaphore whose slots are shared fairly among API keys, and within a key among its requests."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from llava_interleave_serve.server.media.requester import Requester


class _Waiter(NamedTuple):
    """One call of `acquire` that waits; `turn` is set when it has its slots."""

    weight: int
    turn: asyncio.Future[None]


class FairSemaphore:
    """A semaphore of `slots` units, of which each holder has one or more (its weight).

    A free slot goes to the key that holds the fewest, and of this key to the request that holds the fewest; among
    equals to each in turn. So nobody waits for all that others have queued, and a request of one medium does not wait
    for one of hundreds. A waiter of many units is not overtaken by what needs fewer, so that it does not starve.

    key_share: the largest share that one key may hold of the slots that other keys leave, so that a key which holds its
        slots for long leaves some to the next; a key that holds none may take one even so.
    reserve: slots beyond `slots`, which only keys that hold none may take.
    most_of_request: slots that one request may hold; None for no such bound. Heavier weights count as this many.
    """

    def __init__(
        self, slots: int, *, key_share: float = 1.0, most_of_request: int | None = None, reserve: int = 0
    ) -> None:
        self._slots, self._key_share, self._reserve = slots, key_share, reserve
        self._most_of_request = min(slots, most_of_request or slots)
        self._held_by_key: Counter[str] = Counter()
        self._held_by_request: Counter[Requester] = Counter()
        # By key, then by request; who was served last is the last.
        self._waiting: dict[str, dict[Requester, deque[_Waiter]]] = {}

    @asynccontextmanager
    async def slot(self, requester: Requester, weight: int = 1) -> AsyncIterator[None]:
        """Holds `weight` slots for the block; waits for them before."""
        await self.acquire(requester, weight)
        try:
            yield
        finally:
            self.release(requester, weight)

    async def acquire(self, requester: Requester, weight: int = 1) -> None:
        """Waits for `weight` slots, which the caller gives back by `release` with the same arguments."""
        waiter = _Waiter(self._bounded(weight), asyncio.get_running_loop().create_future())
        self._waiting.setdefault(requester.key, {}).setdefault(requester, deque()).append(waiter)
        self._serve()
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.cancelled():
                self._remove(requester, waiter)
                self._serve()  # those whom it kept waiting
            else:
                self.release(requester, weight)
            raise

    def release(self, requester: Requester, weight: int = 1) -> None:
        """Gives slots back, from the event loop's thread."""
        self._add_held(requester, -self._bounded(weight))
        self._serve()

    def _add_held(self, requester: Requester, weight: int) -> None:
        self._held_by_key[requester.key] += weight
        self._held_by_request[requester] += weight
        if not self._held_by_request[requester]:
            del self._held_by_request[requester]
        if not self._held_by_key[requester.key]:
            del self._held_by_key[requester.key]

    def _bounded(self, weight: int) -> int:
        return min(weight, self._most_of_request)

    def _serve(self) -> None:
        """Gives the free slots to those whose turn it is."""
        while (chosen := self._next()) is not None:
            requester, waiter = chosen
            self._remove(requester, waiter)
            if waiter.turn.cancelled():
                continue  # its task has not run yet
            self._move_behind(requester)
            self._add_held(requester, waiter.weight)
            waiter.turn.set_result(None)

    def _next(self) -> tuple[Requester, _Waiter] | None:
        free = self._slots - self._held_by_key.total()
        for key in sorted(self._waiting, key=self._held_by_key.__getitem__):
            chosen = self._next_of(key)
            if chosen is None:
                continue
            held = self._held_by_key[key]
            weight = chosen[1].weight
            if held and self._key_share < 1 and held + weight > self._key_share * (free + held):
                continue  # it waits for its own key
            return chosen if weight <= (free if held else free + self._reserve) else None
        return None

    def _next_of(self, key: str) -> tuple[Requester, _Waiter] | None:
        """The next of a key, whether there are slots for it or not; None if all wait for their own requests."""
        requests = self._waiting[key]
        for requester in sorted(requests, key=self._held_by_request.__getitem__):
            waiter = requests[requester][0]
            if self._held_by_request[requester] + waiter.weight <= self._most_of_request:
                return requester, waiter
        return None

    def _remove(self, requester: Requester, waiter: _Waiter) -> None:
        requests = self._waiting.get(requester.key, {})
        waiters = requests.get(requester, deque())
        if waiter not in waiters:
            return
        waiters.remove(waiter)
        if not waiters:
            del requests[requester]
        if not requests:
            del self._waiting[requester.key]

    def _move_behind(self, requester: Requester) -> None:
        """Puts the key behind the other keys, and the request behind its key's others, if they still wait."""
        requests = self._waiting.pop(requester.key, None)
        if requests is None:
            return
        self._waiting[requester.key] = requests
        waiters = requests.pop(requester, None)
        if waiters is not None:
            requests[requester] = waiters
