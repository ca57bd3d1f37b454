"""The memory that vLLM's beam search takes, by which its length is bounded."""

import tracemalloc
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from vllm.entrypoints.generate.beam_search.online import BeamSearchOnlineMixin
from vllm.logprobs import Logprob
from vllm.sampling_params import BeamSearchParams, SamplingParams

from llava_interleave_serve.server.prompt.beam_search import kept_bytes

pytestmark = pytest.mark.anyio
END = 500


class LikelyEnd:
    """An engine of which the end of the answer is always among the likeliest tokens."""

    input_processor = SimpleNamespace(resolve_watermarking=lambda params: None)

    async def generate(self, prompt: Any, params: SamplingParams, *args: Any, **options: Any) -> AsyncIterator[Any]:
        assert params.logprobs is not None
        likeliest = {END - rank: Logprob(-1.0 - rank, rank, None) for rank in range(params.logprobs)}
        yield SimpleNamespace(outputs=[SimpleNamespace(finish_reason=None, logprobs=[likeliest])])


class Search(BeamSearchOnlineMixin):  # type: ignore[misc]
    engine_client = LikelyEnd()
    renderer = SimpleNamespace(
        get_tokenizer=lambda: SimpleNamespace(eos_token_id=END, decode=lambda tokens, **options: "")
    )


@pytest.mark.parametrize(("beams", "prompt", "answer"), [(4, 2_000, 200), (10, 3_000, 50), (2, 100, 500)])
async def test_the_beams_that_have_ended_take_what_is_reserved_for_them(beams: int, prompt: int, answer: int) -> None:
    params = BeamSearchParams(beam_width=beams, max_tokens=answer, temperature=0.0)
    request: Any = {"type": "token", "prompt_token_ids": list(range(prompt))}
    tracemalloc.start()
    try:
        async for result in Search().beam_search(request, "beams", params):
            assert len(result.outputs) == beams
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    reserved = kept_bytes({"use_beam_search": True, "n": beams}, prompt, answer, 0)
    assert 0.5 * reserved < most < 1.5 * reserved
