"""Sends the requests of a schedule: in an open loop, each when it is due; in a closed loop, so many at a time."""

import asyncio
import contextlib
import gc
from collections import deque
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Any

from llava_interleave_serve.benchmarks.load.client.sender import Clock, RawResponse, Sender
from llava_interleave_serve.benchmarks.load.requests.schedule import ScheduledRequest, group_by_conversation

HEARTBEAT = 0.02  # seconds between looks at how late the client's own event loop is
RECENT = 20  # responses that the shown time to first bytes is the median of


class Heartbeat:
    """Measures how late the client's event loop wakes, which blurs every time that the client takes.

    Attributes:
        delays: seconds, one for each beat.

    """

    def __init__(self) -> None:
        self.delays: list[float] = []

    async def beat(self) -> None:
        """Measures until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + HEARTBEAT
            await asyncio.sleep(HEARTBEAT)
            self.delays.append(max(0.0, loop.time() - due))


async def open_loop(requests: Sequence[ScheduledRequest], sender: Sender, drain: float) -> None:
    """Sends each request when it is due, whatever the server does.

    drain: seconds to wait after the last request for responses still to come; what has not ended then is cancelled.
    """
    async with _run(sender.clock):
        tasks = []
        for request in requests:
            await sender.clock.sleep_until(request.due)
            tasks.append(asyncio.create_task(sender.send(request.number, request.due)))
        await _finish(tasks, drain)


async def closed_loop(
    requests: Sequence[ScheduledRequest], sender: Sender, concurrency: int, duration: float | None, drain: float
) -> None:
    """Keeps `concurrency` conversations going until there are no more or `duration` seconds have passed.

    A request is due when the one before it has ended, so while a server stalls nothing is sent, and the stall shows
    only in the requests that were running.
    """
    waiting = deque(group_by_conversation(requests))

    async def worker() -> None:
        while waiting and (duration is None or sender.clock.now() < duration):
            due = sender.clock.now()
            for request in waiting.popleft():
                if request.turn:
                    due += request.request_class.think
                    await sender.clock.sleep_until(due)
                due = (await sender.send(request.number, due)).ended

    async with _run(sender.clock):
        tasks = [asyncio.create_task(worker()) for _ in range(concurrency)]
        await _finish(tasks, None if duration is None else duration + drain)


@contextlib.asynccontextmanager
async def _run(clock: Clock) -> AsyncIterator[None]:
    """Starts the clock; what was allocated before is left out of garbage collections, which would delay requests."""
    gc.collect()
    gc.freeze()
    clock.start()
    try:
        yield
    finally:
        gc.unfreeze()


async def _finish(tasks: Sequence[asyncio.Task[Any]], seconds: float | None) -> None:
    """Waits so long for the tasks, and cancels those that have not ended. Raises what one of them raised."""
    _, unfinished = await asyncio.wait(tasks, timeout=seconds) if tasks else (set(), set())
    for task in unfinished:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


def progress_line(now: float, responses: Sequence[RawResponse], scheduled: int) -> str:
    """The state of a run: `12.0 s  sent 34/60  running 5  answered 28  failed 1  first bytes 0.84 s`."""
    ended = [response for response in responses if not response.running]
    failed = sum(bool(response.failure) or response.status != HTTPStatus.OK for response in ended)
    latest = [response for response in responses[-4 * RECENT :] if response.chunks]
    first_bytes = sorted([response.chunks[0][0] - response.due for response in latest][-RECENT:])
    counts = [f"{now:.1f} s", f"sent {len(responses)}/{scheduled}", f"running {len(responses) - len(ended)}"]
    counts += [f"answered {len(ended) - failed}", f"failed {failed}"]
    if first_bytes:
        counts.append(f"first bytes {first_bytes[len(first_bytes) // 2]:.2f} s")
    return "  ".join(counts)
