"""Work that several callers want at the same time runs once."""

import asyncio
import gc
import weakref

import pytest

from llava_interleave_serve.server.media.single_flight import SingleFlight

pytestmark = pytest.mark.anyio


class Work:
    """Counts how often it is begun, finished and cancelled; runs until `go` is set."""

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


async def test_running_work_is_shared_and_finished_work_is_repeated() -> None:
    flights, work = SingleFlight[int](), Work()
    both = asyncio.gather(flights.run("a", work), flights.run("a", work))
    await asyncio.sleep(0)
    work.go.set()
    assert list(await both) == [1, 1]
    assert await flights.run("a", work) == 2


async def test_work_with_other_keys_is_not_shared() -> None:
    flights, work = SingleFlight[int](), Work()
    work.go.set()
    assert sorted(await asyncio.gather(flights.run("a", work), flights.run("b", work))) == [1, 2]


async def test_an_error_is_raised_for_every_waiter() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    flights = SingleFlight[None]()
    errors = await asyncio.gather(*(flights.run("a", fail) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in errors] == ["no"] * 3


async def test_cancelling_one_waiter_leaves_the_work_to_the_others() -> None:
    flights, work = SingleFlight[int](), Work()
    cancelled, waiting = (asyncio.create_task(flights.run("a", work)) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    work.go.set()
    assert await waiting == 1
    assert work.cancelled == 0


async def test_work_without_waiters_is_cancelled_and_the_next_call_starts_it_again() -> None:
    flights, work = SingleFlight[int](), Work()
    alone = asyncio.create_task(flights.run("a", work))
    await asyncio.sleep(0)
    alone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alone
    work.go.set()
    assert await flights.run("a", work) == 2
    assert (work.begun, work.cancelled) == (2, 1)


async def test_work_that_has_just_failed_is_begun_again_for_who_asks_in_the_same_turn_of_the_loop() -> None:
    flights = SingleFlight[str]()
    asking: list[asyncio.Task[str]] = []

    async def succeed() -> str:
        return "again"

    async def fail() -> str:
        asking.append(asyncio.create_task(flights.run("a", succeed)))  # runs after the end, before its callbacks
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await flights.run("a", fail)
    assert await asking[0] == "again"


async def test_objects_of_failed_work_are_freed_without_the_garbage_collector() -> None:
    class Image:
        pass

    images: list[weakref.ref[Image]] = []

    async def work() -> int:
        image = Image()
        images.append(weakref.ref(image))
        await asyncio.sleep(0)
        raise ValueError(images)

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="ref"):
            await SingleFlight[int]().run("a", work)
        await asyncio.sleep(0)
        assert [image() for image in images] == [None]
    finally:
        gc.enable()
