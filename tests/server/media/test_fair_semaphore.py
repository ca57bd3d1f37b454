"""Slots are shared fairly among API keys and their requests."""

import asyncio
import contextlib
import random
from collections import Counter

import pytest

from llava_interleave_serve.server.media.fair_semaphore import FairSemaphore
from llava_interleave_serve.server.media.requester import Requester

pytestmark = pytest.mark.anyio


class Holders:
    """Tasks that hold slots of a semaphore until each is told to end.

    Attributes:
        names: of the tasks that hold their slots, or have held them, in the order in which they got them.

    """

    def __init__(self, semaphore: FairSemaphore) -> None:
        self._semaphore = semaphore
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.names: list[str] = []

    async def start(self, name: str, requester: Requester, weight: int = 1, count: int = 1) -> None:
        for number in range(count):
            each = name if count == 1 else f"{name}{number}"
            self._ends[each] = asyncio.Event()
            self._tasks[each] = asyncio.create_task(self._hold(each, requester, weight))
        await _settle()

    async def _hold(self, name: str, requester: Requester, weight: int) -> None:
        async with self._semaphore.slot(requester, weight):
            self.names.append(name)
            await self._ends[name].wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await _settle()

    async def cancel(self, *names: str) -> None:
        for name in names:
            self._tasks[name].cancel()
        await _settle()

    async def end_all(self) -> None:
        """Ends each as soon as it holds its slots, one after another; all must get them."""
        for _ in self._tasks:
            running = [name for name in self.names if not self._ends[name].is_set() and not self._tasks[name].done()]
            await self.end(*running[:1])
        assert all(task.done() for task in self._tasks.values())


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_key_does_not_wait_for_what_another_key_has_queued() -> None:
    holders = Holders(FairSemaphore(2))
    await holders.start("a", Requester("A"), count=100)
    await holders.start("b", Requester("B"))
    assert "b" not in holders.names
    await holders.end("a0")
    assert holders.names == ["a0", "a1", "b"]
    await holders.end_all()


async def test_with_one_slot_keys_take_turns() -> None:
    holders = Holders(FairSemaphore(1))
    for name in "abc":
        await holders.start(name, Requester(name), count=3)
    await holders.end_all()
    assert holders.names == ["a0", "a1", "b0", "c0", "a2", "b1", "c1", "b2", "c2"]


async def test_a_key_that_holds_its_slots_for_long_gets_no_more_than_others() -> None:
    holders = Holders(FairSemaphore(4))
    await holders.start("a", Requester("A"), count=10)
    await holders.start("b", Requester("B"), count=10)
    await holders.end("a0")
    await holders.end("a1")
    # Two for each. What B gives back is B's, however often.
    await holders.end("b0")
    await holders.end("b1")
    assert holders.names == ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"]
    await holders.end_all()


async def test_a_request_does_not_wait_for_what_another_of_its_key_has_queued() -> None:
    holders = Holders(FairSemaphore(2))
    await holders.start("large", Requester("A"), count=100)
    await holders.start("small", Requester("A"))
    await holders.end("large0")
    assert holders.names == ["large0", "large1", "small"]
    await holders.end_all()


async def test_one_request_holds_no_more_than_its_bound() -> None:
    holders = Holders(FairSemaphore(8, most_of_request=2))
    await holders.start("large", Requester("A"), count=5)
    await holders.start("small", Requester("A"))
    assert holders.names == ["large0", "large1", "small"]
    await holders.end("large0")
    assert holders.names == ["large0", "large1", "small", "large2"]
    await holders.end_all()


async def test_a_key_leaves_a_share_of_the_slots_to_the_next() -> None:
    holders = Holders(FairSemaphore(10, key_share=0.8))
    for name in "abcd":
        await holders.start(name, Requester(name), count=10)
    # Of ten 8, of the two that are left 1, and the last slot to a key that has none.
    assert Counter(name[0] for name in holders.names) == {"a": 8, "b": 1, "c": 1}
    await holders.end("a0")
    assert holders.names[-1] == "d0"
    await holders.end_all()


async def test_a_heavy_waiter_is_not_overtaken_by_light_ones_for_ever() -> None:
    holders = Holders(FairSemaphore(10))
    await holders.start("a", Requester("A"), count=10)
    await holders.start("heavy", Requester("B"), weight=10)
    await holders.start("more", Requester("A"), count=10)
    await holders.end(*(f"a{number}" for number in range(9)))
    assert holders.names[10:] == []
    await holders.end("a9")
    assert holders.names[10:] == ["heavy"]
    await holders.end_all()


async def test_a_heavy_waiter_is_not_overtaken_within_its_key() -> None:
    holders = Holders(FairSemaphore(10, key_share=0.5))
    await holders.start("light", Requester("A"), count=5)
    await holders.start("heavy", Requester("A"), weight=5)
    await holders.start("later", Requester("A"))
    await holders.end(*(f"light{number}" for number in range(5)))
    assert holders.names[5:] == ["heavy"]
    await holders.end_all()


async def test_a_waiter_heavier_than_all_slots_takes_them_all() -> None:
    holders = Holders(FairSemaphore(4, key_share=0.5, most_of_request=3))
    await holders.start("light", Requester("A"))
    await holders.start("heavy", Requester("B"), weight=1000)
    assert holders.names == ["light", "heavy"]
    await holders.start("light2", Requester("A"))
    await holders.end("heavy")
    assert holders.names == ["light", "heavy", "light2"]
    await holders.end_all()


async def test_a_cancelled_waiter_gives_its_turn_to_the_next() -> None:
    holders = Holders(FairSemaphore(2))
    await holders.start("first", Requester("A"), weight=2)
    await holders.start("heavy", Requester("B"), weight=2)
    await holders.start("last", Requester("C"))
    await holders.cancel("heavy")
    await holders.end("first")
    assert holders.names == ["first", "last"]


async def test_a_waiter_cancelled_as_its_turn_comes_gives_its_slot_back() -> None:
    semaphore = FairSemaphore(1)
    holder = Requester("A")
    await semaphore.acquire(holder)
    waiting = asyncio.create_task(semaphore.acquire(Requester("B")))
    await _settle()
    semaphore.release(holder)  # the turn is set, and its task cancelled before it has run
    waiting.cancel()
    await _settle()
    assert waiting.cancelled()
    await asyncio.wait_for(semaphore.acquire(Requester("C")), 1)


@pytest.mark.parametrize("seed", range(30))
async def test_nobody_starves_and_the_slots_are_never_exceeded_whatever_comes(seed: int) -> None:
    rng = random.Random(seed)
    slots = rng.randint(1, 12)
    most = rng.choice([slots, min(slots, 2)])
    semaphore = FairSemaphore(slots, key_share=rng.choice([0.3, 0.8, 1.0]), most_of_request=most)
    held: Counter[Requester] = Counter()

    async def hold(requester: Requester, weight: int) -> None:
        async with semaphore.slot(requester, weight):
            held[requester] += min(weight, most)
            try:
                assert held.total() <= slots
                assert held[requester] <= most
                for _ in range(rng.randint(0, 3)):
                    await asyncio.sleep(0)
            finally:
                held[requester] -= min(weight, most)

    requesters = [Requester(rng.choice("ABC")) for _ in range(8)]
    tasks = [asyncio.create_task(hold(rng.choice(requesters), rng.randint(1, slots))) for _ in range(60)]
    for task in rng.sample(tasks, 10):
        await asyncio.sleep(0)
        task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        assert task.cancelled() or task.exception() is None
    await asyncio.wait_for(semaphore.acquire(Requester("D"), slots), 1)  # all slots have been given back


async def test_the_reserve_is_for_keys_that_hold_nothing_and_is_the_most_beyond_the_slots() -> None:
    semaphore = FairSemaphore(100, reserve=50)
    for key in "ABCDE":
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await semaphore.acquire(Requester(key), 50)
    assert semaphore._held_by_key.total() == 150
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await semaphore.acquire(Requester("A"), 1)


async def test_a_heavy_waiter_is_not_overtaken_by_another_keys_light_one() -> None:
    semaphore = FairSemaphore(100)
    first, second = Requester("A"), Requester("B")
    await semaphore.acquire(first, 10)
    await semaphore.acquire(second, 60)
    heavy = asyncio.ensure_future(semaphore.acquire(first, 60))
    light = asyncio.ensure_future(semaphore.acquire(second, 20))
    await asyncio.sleep(0.01)
    assert not light.done()
    semaphore.release(second, 60)
    await heavy
    await light
