"""With several engines (--data-parallel-size), requests about the same medium meet in one of them."""

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.server.engine import vllm_chat, vllm_compat
from llava_interleave_serve.server.engine.rendered_request import RenderedRequest
from llava_interleave_serve.server.engine.vllm_chat import RenderedChat, rank_of
from llava_interleave_serve.server.observability.timing import RequestTiming

pytestmark = pytest.mark.anyio


def visual(number: int) -> Visual:
    return Visual(np.random.default_rng(number).integers(0, 256, (1, 28, 28, 3), dtype=np.uint8))


def test_the_first_visual_decides_and_media_are_spread_over_the_engines() -> None:
    assert rank_of([visual(1), visual(2)], 4) == rank_of([visual(1), visual(3)], 4)
    ranks = [rank_of([visual(number)], 4) for number in range(64)]
    assert set(ranks) == {0, 1, 2, 3}


def test_text_and_a_single_engine_have_no_rank() -> None:
    assert rank_of([], 4) is None
    assert rank_of([visual(1)], 1) is None


class Renderer:
    """Lets other requests run while it processes one."""

    async def process_for_engine_async(self, prompt: dict[str, Any], arrival: float) -> dict[str, Any]:
        await asyncio.sleep(0)
        return prompt


def chat(ranks: int, *, local_only: bool = False) -> RenderedChat:
    """vLLM's chat serving, with nothing but what chooses an engine."""
    serving: Any = object.__new__(RenderedChat)
    parallel = SimpleNamespace(data_parallel_size=ranks, local_engines_only=local_only)
    serving.engine_client = SimpleNamespace(vllm_config=SimpleNamespace(parallel_config=parallel))
    serving.renderer, serving._preflight = Renderer(), lambda n: None
    checked: RenderedChat = serving
    return checked


async def ranks_of(serving: RenderedChat, *visuals: list[Visual]) -> list[int | None]:
    """The ranks that vLLM is told for requests that are prepared at once."""

    async def prepare(of_request: list[Visual]) -> int | None:
        request = RenderedRequest.from_sampling({}).with_prompt([1], of_request, RequestTiming(), "")
        await serving.render_chat_request(request)
        return serving._get_data_parallel_rank(None)

    return await asyncio.gather(*map(prepare, visuals))


async def test_requests_that_run_at_once_have_ranks_of_their_own() -> None:
    expected = [rank_of([visual(number)], 4) for number in range(16)]
    assert await ranks_of(chat(4), *([visual(number)] for number in range(16)), []) == [*expected, None]


async def test_where_another_balances_the_engines_no_rank_is_chosen() -> None:
    assert await ranks_of(chat(4, local_only=True), [visual(1)]) == [None]


def test_vllm_asks_the_hook_after_the_prompt_is_rendered() -> None:
    source = inspect.getsource(vllm_compat.OpenAIServingChat._create_chat_completion)
    rendered = source.index("self.render_chat_request(request)")
    assert (
        rendered < source.index("self._get_data_parallel_rank(raw_request)") < source.index("data_parallel_rank=data")
    )
    assert vllm_chat.RANK.get() is None
