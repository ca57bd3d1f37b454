"""The client against a server of known delays: it measures them, and a stall hides from no request that was due."""

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import Any

import pytest

from llava_interleave_serve.benchmarks.load.client import load_loop
from llava_interleave_serve.benchmarks.load.client.body_store import Spool
from llava_interleave_serve.benchmarks.load.client.clock import Clock
from llava_interleave_serve.benchmarks.load.client.sender import Sender, connect
from llava_interleave_serve.benchmarks.load.results import aggregate, request_metrics
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from tests.support.fakes.chat_server import FakeChatServer, Script
from tests.support.load_exchanges import ask

pytestmark = pytest.mark.anyio
# How much later than the server wrote a token the client may note it, on a machine that others use too.
SLACK = 0.2


async def load(
    server: FakeChatServer,
    dues: Sequence[float],
    *,
    closed: int = 0,
    timeout: float = 30.0,
    drain: float = 30.0,
    also: Any = None,
) -> list[RequestMetrics]:
    """Requests that are due so, or, in a closed loop, as many one after the other."""
    asks = [dataclasses.replace(ask(at), due=due) for at, due in enumerate(dues)]
    with Spool() as spool:
        for one in asks:
            spool.add(one.number, b'{"messages": [], "number": %d}' % one.number)
        spool.sealed()
        async with connect(server.url, None, timeout) as connected:
            sender = Sender(connected, spool, Clock(), timeout)
            beside = asyncio.create_task(also(sender.clock)) if also else None
            if closed:
                await load_loop.closed_loop(asks, sender, closed, None, drain)
            else:
                await load_loop.open_loop(asks, sender, drain)
            if beside is not None:
                await beside
    return [request_metrics.compute(asks[one.number], one) for one in sender.exchanges]


async def test_known_delays_are_measured() -> None:
    clocks: list[Clock] = []

    async def keep(clock: Clock) -> None:
        clocks.append(clock)

    async with FakeChatServer(lambda body: Script(first=0.5, gap=0.25, tokens=tuple("ABCDE"))) as server:
        records = await load(server, [0.0, 0.05, 0.1, 0.15], also=keep)
        begun = time.perf_counter() - clocks[0].now()
    assert not [one.error for one in records if one.error]
    for one, served in zip(records, server.served, strict=True):
        assert one.ttft is not None
        assert one.ttft >= 0.5
        assert one.ttft == pytest.approx(served.written[0] - begun - one.due, abs=SLACK)
        assert one.e2e == pytest.approx(served.written[-1] - begun - one.due, abs=SLACK)
        gaps = [after - before for before, after in itertools.pairwise(served.written)]
        assert one.gaps == pytest.approx(gaps, abs=SLACK)
        assert one.tpot == pytest.approx((served.written[-1] - served.written[0]) / 4, abs=SLACK / 4)
        assert (one.tokens, one.answer) == (5, "ABCDE")


async def stall(server: FakeChatServer, clock: Clock, start: float, end: float) -> None:
    await clock.sleep_until(start)
    server.gate.clear()
    await clock.sleep_until(end)
    server.gate.set()


async def test_a_stall_shows_in_every_request_that_was_due_during_it() -> None:
    dues = [0.05 * at for at in range(40)]
    async with FakeChatServer() as server:
        records = await load(server, dues, also=lambda clock: stall(server, clock, 0.5, 1.5))
    during = [one for one in records if 0.55 < one.due < 1.4]
    assert len(during) == 16
    for one in during:
        assert one.ttft is not None
        assert one.ttft >= 1.5 - one.due - 0.001
    assert sum((one.ttft or 0) > 0.3 for one in records) >= 13
    assert len(server.served) == 40


async def test_a_closed_loop_sees_the_same_stall_once() -> None:
    async with FakeChatServer(lambda body: Script(first=0.05)) as server:
        records = await load(server, [0.0] * 40, closed=1, also=lambda clock: stall(server, clock, 0.5, 1.5))
    assert sum((one.ttft or 0) >= 0.5 for one in records) == 1


async def test_an_open_loop_never_waits_for_the_server() -> None:
    async with FakeChatServer() as server:
        server.gate.clear()

        async def open_when_all_are_there(clock: Clock) -> None:
            await server.received(60)
            server.gate.set()

        records = await load(server, [0.01 * at for at in range(60)], also=open_when_all_are_there)
    assert len(records) == 60
    assert not [one.error for one in records if one.error]


async def test_a_closed_loop_keeps_to_its_concurrency() -> None:
    async with FakeChatServer() as server:
        server.gate.clear()

        async def open_later(clock: Clock) -> None:
            await server.received(3)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(server.received(4), 0.2)
            server.gate.set()

        records = await load(server, [0.0] * 9, closed=3, also=open_later)
    assert len(records) == 9


async def test_a_client_that_stalls_hides_nothing_and_says_so() -> None:
    async def block(clock: Clock) -> None:
        await clock.sleep_until(0.2)
        time.sleep(0.6)  # noqa: ASYNC251 - what a client must not do

    async with FakeChatServer() as server:
        records = await load(server, [0.02 * at for at in range(40)], also=block)
    late = [one for one in records if 0.25 < one.due < 0.7]
    assert len(late) == 22
    for one in late:
        assert one.lag >= 0.8 - one.due - 0.001
        assert (one.ttft or 0) >= one.lag
    assert "fell behind" in aggregate.client_health(records, []).warning


async def test_the_heartbeat_tells_how_long_the_loop_slept_in() -> None:
    heartbeat = load_loop.Heartbeat()
    beating = asyncio.create_task(heartbeat.beat())
    await asyncio.sleep(3 * load_loop.HEARTBEAT)
    time.sleep(0.3)  # noqa: ASYNC251
    await asyncio.sleep(2 * load_loop.HEARTBEAT)
    beating.cancel()
    assert max(heartbeat.late) >= 0.3 - load_loop.HEARTBEAT


async def test_refusals_are_told_with_their_code_and_when_to_come_back() -> None:
    def answer(body: dict[str, Any]) -> Script:
        refused = Script(status=429, headers={"Retry-After": "7"}, error={"code": "overloaded"})
        return refused if body["number"] % 2 else Script()

    async with FakeChatServer(answer) as server:
        records = sorted(await load(server, [0.0] * 6), key=lambda one: one.number)
    assert [one.error for one in records] == ["", "429 overloaded"] * 3
    assert {one.retry_after for one in records if one.error} == {"7"}


async def test_a_stream_that_breaks_off_is_an_error_and_no_latency() -> None:
    async with FakeChatServer(lambda body: Script(cut_after=2)) as server:
        (one,) = await load(server, [0.0])
    assert "broken off" in one.error
    assert one.e2e is None


async def test_an_error_inside_a_stream_is_an_error() -> None:
    async with FakeChatServer(lambda body: Script(error={"code": "engine_dead"})) as server:
        (one,) = await load(server, [0.0])
    assert one.error == "in the stream: engine_dead"


async def test_no_answer_in_time_is_a_timeout_and_no_server_no_connection() -> None:
    async with FakeChatServer() as server:
        server.gate.clear()
        (one,) = await load(server, [0.0], timeout=0.2)
        server.gate.set()
    assert one.error == "timeout"
    (other,) = await load(server, [0.0])
    assert other.error == "no connection"


async def test_what_is_unanswered_when_the_run_ends_is_counted_so() -> None:
    async with FakeChatServer() as server:
        server.gate.clear()
        records = await load(server, [0.0, 0.01], drain=0.2)
        server.gate.set()
    assert [one.error for one in records] == ["unfinished when the run ended"] * 2


async def test_phases_are_taken_from_header_and_stream() -> None:
    script = Script(headers={"Server-Timing": "fetch;dur=12, decode;dur=3"}, timing={"decode": 4, "prefill": 20.5})
    async with FakeChatServer(lambda body: script) as server:
        (one,) = await load(server, [0.0])
    assert one.phases == {"fetch": 0.012, "decode": 0.004, "prefill": 0.0205}
