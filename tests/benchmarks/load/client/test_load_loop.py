"""Open and closed loops measure a server of known delays: a stall shows in every request that was due."""

import asyncio
import time

import pytest

from llava_interleave_serve.benchmarks.load.client import load_loop
from llava_interleave_serve.benchmarks.load.client.sender import Clock
from llava_interleave_serve.benchmarks.load.results import aggregate
from tests.support.fakes.chat_server import FakeChatServer, Script
from tests.support.load.exchanges import exchange
from tests.support.load.runs import send


async def stall(server: FakeChatServer, clock: Clock, start: float, end: float) -> None:
    await clock.sleep_until(start)
    server.gate.clear()
    await clock.sleep_until(end)
    server.gate.set()


@pytest.mark.anyio
async def test_a_stall_of_the_server_shows_in_every_request_that_was_due_during_it() -> None:
    due = [0.05 * index for index in range(40)]
    async with FakeChatServer() as server:
        records = await send(server, due, meanwhile=lambda clock: stall(server, clock, 0.5, 1.5))
    during = [record for record in records if 0.55 < record.due < 1.4]
    assert len(during) == 16
    for record in during:
        assert record.ttft is not None
        assert record.ttft >= 1.5 - record.due - 0.001
    assert sum((record.ttft or 0) > 0.3 for record in records) >= 13
    assert len(server.served) == 40


@pytest.mark.anyio
async def test_a_closed_loop_sees_a_stall_of_the_server_once() -> None:
    async with FakeChatServer(lambda body: Script(first=0.05)) as server:
        records = await send(server, [0.0] * 40, concurrency=1, meanwhile=lambda clock: stall(server, clock, 0.5, 1.5))
    assert sum((record.ttft or 0) >= 0.5 for record in records) == 1


@pytest.mark.anyio
async def test_an_open_loop_never_waits_for_the_server() -> None:
    async with FakeChatServer() as server:
        server.gate.clear()

        async def open_when_all_have_come(clock: Clock) -> None:
            await server.received(60)
            server.gate.set()

        records = await send(server, [0.01 * index for index in range(60)], meanwhile=open_when_all_have_come)
    assert len(records) == 60
    assert not [record.error for record in records if record.error]


@pytest.mark.anyio
async def test_a_closed_loop_keeps_to_its_concurrency() -> None:
    async with FakeChatServer() as server:
        server.gate.clear()

        async def open_later(clock: Clock) -> None:
            await server.received(3)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(server.received(4), 0.2)
            server.gate.set()

        records = await send(server, [0.0] * 9, concurrency=3, meanwhile=open_later)
    assert len(records) == 9


@pytest.mark.anyio
async def test_a_stall_of_the_client_is_in_every_latency_and_is_reported() -> None:
    async def block(clock: Clock) -> None:
        await clock.sleep_until(0.2)
        time.sleep(0.6)  # noqa: ASYNC251 - what a client must not do

    async with FakeChatServer() as server:
        records = await send(server, [0.02 * index for index in range(40)], meanwhile=block)
    late = [record for record in records if 0.25 < record.due < 0.7]
    assert len(late) == 22
    for record in late:
        assert record.lag >= 0.8 - record.due - 0.001
        assert (record.ttft or 0) >= record.lag
    assert "fell behind" in aggregate.client_health(records, []).warning


@pytest.mark.anyio
async def test_the_heartbeat_measures_how_late_the_loop_wakes() -> None:
    heartbeat = load_loop.Heartbeat()
    beating = asyncio.create_task(heartbeat.beat())
    await asyncio.sleep(3 * load_loop.HEARTBEAT)
    time.sleep(0.3)  # noqa: ASYNC251
    await asyncio.sleep(2 * load_loop.HEARTBEAT)
    beating.cancel()
    assert max(heartbeat.delays) >= 0.3 - load_loop.HEARTBEAT


@pytest.mark.anyio
async def test_requests_without_an_answer_when_the_run_ends_are_unfinished() -> None:
    async with FakeChatServer() as server:
        server.gate.clear()
        records = await send(server, [0.0, 0.01], drain=0.2)
        server.gate.set()
    assert [record.error for record in records] == ["unfinished when the run ended"] * 2


def test_the_progress_line_counts_what_was_sent_is_running_and_failed() -> None:
    done = exchange([(11.0, b"x"), (12.0, b"y")])
    running = exchange([(10.5, b"x")], ended=0.0)
    refused = exchange([(10.1, b"x")], status=429)
    line = load_loop.progress_line(12.0, [done, running, refused], 9)
    assert line == "12.0 s  sent 3/9  running 1  answered 1  failed 1  first bytes 0.50 s"


def test_the_progress_line_shows_the_latest_times_to_first_bytes() -> None:
    slow = [exchange([(19.0, b"x")]) for _ in range(60)]
    fast = [exchange([(10.5, b"x")]) for _ in range(load_loop.RECENT)]
    assert load_loop.progress_line(30.0, slow + fast, 80).endswith("first bytes 0.50 s")
