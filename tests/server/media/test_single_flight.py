"""Work that several want at once is done once."""

import asyncio
import gc
import weakref

import pytest

from llava_interleave_serve.server.media.single_flight import Flights

pytestmark = pytest.mark.anyio


class Work:
    """Counts how often it is begun, finished and cancelled; goes on until `go` is set."""

    def __init__(self) -> None:
        self.begun = self.finished = self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.finished += 1
        return self.begun


async def test_work_under_way_is_shared_and_work_done_is_not() -> None:
    flights: Flights[int] = Flights()
    work = Work()
    both = asyncio.gather(flights.join("a", work), flights.join("a", work))
    await asyncio.sleep(0)
    work.go.set()
    assert list(await both) == [1, 1]
    assert await flights.join("a", work) == 2


async def test_other_keys_are_other_work() -> None:
    flights: Flights[int] = Flights()
    work = Work()
    work.go.set()
    assert sorted(await asyncio.gather(flights.join("a", work), flights.join("b", work))) == [1, 2]


async def test_a_fault_reaches_everybody_who_waits() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    flights: Flights[None] = Flights()
    faults = await asyncio.gather(*(flights.join("a", fail) for _ in range(3)), return_exceptions=True)
    assert [str(fault) for fault in faults] == ["no"] * 3


async def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    flights: Flights[int] = Flights()
    work = Work()
    leaves, stays = (asyncio.create_task(flights.join("a", work)) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    work.go.set()
    assert await stays == 1
    assert work.cancelled == 0


async def test_work_that_nobody_waits_for_is_cancelled_and_begun_anew_for_the_next() -> None:
    flights: Flights[int] = Flights()
    work = Work()
    alone = asyncio.create_task(flights.join("a", work))
    await asyncio.sleep(0)
    alone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alone
    work.go.set()
    assert await flights.join("a", work) == 2
    assert (work.begun, work.cancelled) == (2, 1)


async def test_what_failed_work_held_is_gone_without_the_collector() -> None:
    class Picture:
        pass

    held: list[weakref.ref[Picture]] = []

    async def work() -> int:
        picture = Picture()
        held.append(weakref.ref(picture))
        await asyncio.sleep(0)
        raise ValueError(held)

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="ref"):
            await Flights[int]().join("a", work)
        await asyncio.sleep(0)
        assert [one() for one in held] == [None]
    finally:
        gc.enable()
