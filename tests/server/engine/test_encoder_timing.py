"""The encoder's seconds are collected from workers, which report those of all requests once."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from vllm.v1.engine.parallel_sampling import ParentRequest

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.encoder_timing import MOST_REQUESTS, EncoderTiming
from llava_interleave_serve.server.engine.rendered_request import RenderedRequest
from llava_interleave_serve.server.engine.vllm_chat import RenderedChat

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


async def test_the_encoder_seconds_of_all_choices_are_those_of_their_request() -> None:
    parent = SimpleNamespace(
        request_id="chatcmpl-a-01", external_req_id="chatcmpl-a", params=vllm_compat.SamplingParams(n=11)
    )
    request: Any = ParentRequest(parent)
    children = [request.get_child_info(index)[0] for index in range(11)]
    workers = Workers()
    timing = EncoderTiming(workers)
    workers.measured = {children[0]: 1.0, children[10]: 0.5, "1_chatcmpl-b-02": 4.0, "chatcmpl-c-1_chatcmpl-a": 8.0}
    assert await timing.seconds_of("chatcmpl-a", timing.start_collecting()) == 1.5
    assert set(timing._seconds) == {"1_chatcmpl-b-02", "chatcmpl-c-1_chatcmpl-a"}


async def test_the_encoder_seconds_of_a_search_by_beams_which_has_no_phases_are_not_kept() -> None:
    async def results() -> AsyncGenerator[Any, None]:
        yield SimpleNamespace(request_id="chatcmpl-a", metrics=None, finished=True, outputs=[])

    async def nothing(request: Any, outputs: Any) -> None:
        """Stands for the building of log probabilities."""

    workers = Workers()
    timing = EncoderTiming(workers)
    workers.measured = {"chatcmpl-a-5e-beam-0-01": 1.0, "chatcmpl-b-02": 2.0}
    serving: Any = SimpleNamespace(default_sampling_params={}, encoder_timing=timing, build_logprobs=nothing)
    request = RenderedRequest.from_sampling({"use_beam_search": True, "n": 2})
    request._has_visuals = True
    answered = [result async for result in RenderedChat._timed(serving, request, results())]
    assert len(answered) == 1
    assert set(timing._seconds) == {"chatcmpl-b-02"}


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
