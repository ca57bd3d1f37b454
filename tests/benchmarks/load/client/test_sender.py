"""The sender measures a server of known delays and names its failures."""

import itertools
import time
from typing import Any

import pytest

from llava_interleave_serve.benchmarks.load.client.sender import Clock
from tests.support.fakes.chat_server import FakeChatServer, Script
from tests.support.load.runs import send

pytestmark = pytest.mark.anyio
# How much later than the server wrote a token the client may note it, on a machine that others use too.
SLACK = 0.2


async def test_the_sender_measures_known_delays() -> None:
    clocks: list[Clock] = []

    async def take_clock(clock: Clock) -> None:
        clocks.append(clock)

    async with FakeChatServer(lambda body: Script(first=0.5, gap=0.25, tokens=tuple("ABCDE"))) as server:
        records = await send(server, [0.0, 0.05, 0.1, 0.15], meanwhile=take_clock)
        begun = time.perf_counter() - clocks[0].now()
    assert not [record.error for record in records if record.error]
    for record, served in zip(records, server.served, strict=True):
        assert record.ttft is not None
        assert record.ttft >= 0.5
        assert record.ttft == pytest.approx(served.written[0] - begun - record.due, abs=SLACK)
        assert record.e2e == pytest.approx(served.written[-1] - begun - record.due, abs=SLACK)
        gaps = [after - before for before, after in itertools.pairwise(served.written)]
        assert record.gaps == pytest.approx(gaps, abs=SLACK)
        assert record.tpot == pytest.approx((served.written[-1] - served.written[0]) / 4, abs=SLACK / 4)
        assert (record.tokens, record.answer) == (5, "ABCDE")


async def test_a_refused_request_has_its_code_and_retry_after() -> None:
    def answer(body: dict[str, Any]) -> Script:
        refused = Script(status=429, headers={"Retry-After": "7"}, error={"code": "overloaded"})
        return refused if body["number"] % 2 else Script()

    async with FakeChatServer(answer) as server:
        records = sorted(await send(server, [0.0] * 6), key=lambda record: record.number)
    assert [record.error for record in records] == ["", "429 overloaded"] * 3
    assert {record.retry_after for record in records if record.error} == {"7"}


async def test_a_stream_that_breaks_off_is_an_error_and_no_latency() -> None:
    async with FakeChatServer(lambda body: Script(cut_after=2)) as server:
        (record,) = await send(server, [0.0])
    assert "broken off" in record.error
    assert record.e2e is None


async def test_an_error_inside_a_stream_is_an_error() -> None:
    async with FakeChatServer(lambda body: Script(error={"code": "engine_dead"})) as server:
        (record,) = await send(server, [0.0])
    assert record.error == "in the stream: engine_dead"


async def test_a_late_answer_is_a_timeout_and_a_missing_server_is_no_connection() -> None:
    async with FakeChatServer() as server:
        server.gate.clear()
        (record,) = await send(server, [0.0], timeout=0.2)
        server.gate.set()
    assert record.error == "timeout"
    (other,) = await send(server, [0.0])
    assert other.error == "no connection"


async def test_phases_of_the_server_are_taken_from_header_and_stream() -> None:
    script = Script(headers={"Server-Timing": "fetch;dur=12, decode;dur=3"}, timing={"decode": 4, "prefill": 20.5})
    async with FakeChatServer(lambda body: script) as server:
        (record,) = await send(server, [0.0])
    assert record.phases == {"fetch": 0.012, "decode": 0.004, "prefill": 0.0205}
