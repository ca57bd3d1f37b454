"""Threads are shared fairly, and what runs in them counts until it returns."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from llava_interleave_serve.server.media.fair_threads import FairThreads
from llava_interleave_serve.server.media.requester import Requester

pytestmark = pytest.mark.anyio


@pytest.fixture
def threads() -> Iterator[FairThreads]:
    threads = FairThreads("test", 2)
    yield threads
    threads.close()


async def test_a_result_and_an_error_reach_the_caller(threads: FairThreads) -> None:
    assert await threads.run(Requester(), divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(Requester(), divmod, 7, 0)


async def test_a_key_does_not_wait_for_what_another_key_has_queued(threads: FairThreads) -> None:
    order: list[str] = []
    release = threading.Event()
    first = [asyncio.create_task(threads.run(Requester("A"), release.wait, 10)) for _ in range(2)]
    queued = [asyncio.create_task(threads.run(Requester("A"), order.append, "a")) for _ in range(50)]
    await asyncio.sleep(0)
    polite = asyncio.create_task(threads.run(Requester("B"), order.append, "b"))
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(*first, *queued, polite)
    assert order.index("b") <= 2


async def test_a_function_that_nobody_waits_for_keeps_its_thread_until_it_returns(threads: FairThreads) -> None:
    release = threading.Event()
    running = [asyncio.create_task(threads.run(Requester("A"), release.wait, 10)) for _ in range(2)]
    await asyncio.sleep(0.05)
    for task in running:
        task.cancel()
    waiting = asyncio.create_task(threads.run(Requester("B"), lambda: 1))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    release.set()
    assert await waiting == 1


async def test_a_function_cancelled_before_its_turn_is_never_called(threads: FairThreads) -> None:
    release, called = threading.Event(), threading.Event()
    running = [asyncio.create_task(threads.run(Requester("A"), release.wait, 10)) for _ in range(2)]
    waiting = asyncio.create_task(threads.run(Requester("A"), called.set))
    await asyncio.sleep(0.05)
    waiting.cancel()
    release.set()
    await asyncio.gather(*running)
    await threads.run(Requester("A"), lambda: None)
    assert not called.is_set()
