"""The encoder's seconds are collected from workers, which report those of all requests once."""

import asyncio
from typing import Any

import pytest

from llava_interleave_serve.server.engine.encoder_timing import MOST_REQUESTS, EncoderTiming

pytestmark = pytest.mark.anyio


class Workers:
    """Two workers; what they have measured is given away with the first question."""

    def __init__(self) -> None:
        self.measured: dict[str, float] = {}

    async def __call__(self) -> list[dict[str, dict[str, Any]]]:
        measured, self.measured = self.measured, {}
        await asyncio.sleep(0)
        first = {name: {"encoder_forward_secs": seconds} for name, seconds in measured.items()}
        second = {name: {"encoder_forward_secs": seconds / 2} for name, seconds in measured.items()}
        return [first, second]


async def test_a_request_gets_its_own_encoder_seconds_although_another_request_asked_first() -> None:
    workers = Workers()
    timing = EncoderTiming(workers)
    workers.measured = {"chatcmpl-a-01": 1.0, "chatcmpl-b-02": 2.0}
    first, second = timing.start_collecting(), timing.start_collecting()
    assert await timing.seconds_of("chatcmpl-b", second) == 2.0
    assert await timing.seconds_of("chatcmpl-a", first) == 1.0
    assert await timing.seconds_of("chatcmpl-a", first) == 0.0


async def test_encoder_seconds_of_two_steps_are_added_up() -> None:
    workers = Workers()
    timing = EncoderTiming(workers)
    for _ in range(2):
        workers.measured = {"chatcmpl-a-01": 1.5}
        collecting = timing.start_collecting()
        await collecting
    assert await timing.seconds_of("chatcmpl-a", collecting) == 3.0


async def test_encoder_seconds_that_no_request_asks_for_are_forgotten() -> None:
    workers = Workers()
    timing = EncoderTiming(workers)
    workers.measured = {f"gone-{number}-01": 1.0 for number in range(2 * MOST_REQUESTS)}
    await timing.start_collecting()
    assert len(timing._seconds) == MOST_REQUESTS
