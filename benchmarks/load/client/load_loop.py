"""Runs a plan: in an open loop, which never waits for the server, or in a closed one, which does nothing else."""

import asyncio
import contextlib
import gc
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

from llava_interleave_serve.benchmarks.load.client.clock import Clock
from llava_interleave_serve.benchmarks.load.client.sender import Sender
from llava_interleave_serve.benchmarks.load.requests.schedule import ScheduledRequest, group_by_conversation

HEARTBEAT = 0.02  # seconds between looks at how late the client's own event loop is


class Heartbeat:
    """How late the client's event loop wakes: seconds, one value a look. Every time it takes is blurred by as much."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + HEARTBEAT
            await asyncio.sleep(HEARTBEAT)
            self.late.append(max(0.0, loop.time() - due))


async def open_loop(asks: Sequence[ScheduledRequest], sender: Sender, drain: float) -> None:
    """Sends each request when it is due, and waits `drain` seconds after the last for answers still to come."""
    async with _watched(sender.clock):
        tasks = []
        for ask in asks:
            await sender.clock.sleep_until(ask.due)
            tasks.append(asyncio.create_task(sender.send(ask.number, ask.due)))
        await _finish(tasks, drain)


async def closed_loop(
    asks: Sequence[ScheduledRequest], sender: Sender, concurrency: int, duration: float | None, drain: float
) -> None:
    """Keeps `concurrency` conversations going until there are no more or `duration` seconds have passed.

    A request is due when the one before it has ended: what a server delays is not sent, so no latency shows it.
    """
    waiting = deque(group_by_conversation(asks))

    async def worker() -> None:
        while waiting and (duration is None or sender.clock.now() < duration):
            due = sender.clock.now()
            for ask in waiting.popleft():
                if ask.turn:
                    due += ask.request_class.think
                    await sender.clock.sleep_until(due)
                due = (await sender.send(ask.number, due)).ended

    async with _watched(sender.clock):
        tasks = [asyncio.create_task(worker()) for _ in range(concurrency)]
        await _finish(tasks, None if duration is None else duration + drain)


@contextlib.asynccontextmanager
async def _watched(clock: Clock) -> AsyncIterator[None]:
    """Starts the clock, with no garbage collection of what was there before."""
    gc.collect()
    gc.freeze()
    clock.begin()
    try:
        yield
    finally:
        gc.unfreeze()


async def _finish(tasks: Sequence[asyncio.Task[Any]], seconds: float | None) -> None:
    _, late = await asyncio.wait(tasks, timeout=seconds) if tasks else (set(), set())
    for task in late:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
