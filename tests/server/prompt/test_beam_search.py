"""What vLLM's beam search would drop unsaid is refused by name beside it."""

from typing import Any

import pytest

from llava_interleave_serve.server.errors import LimitExceeded, RequestError
from llava_interleave_serve.server.prompt import beam_search

ASKS: dict[str, Any] = {
    "stop": ["red"], "stop_token_ids": [5], "response_format": {"type": "json_object"},
    "structured_outputs": {"regex": "a"}, "logit_bias": {"5": 1}, "allowed_token_ids": [5],
    "bad_words": ["x"], "min_tokens": 8, "seed": 3, "top_p": 0.5,
    "top_k": 5, "min_p": 0.1, "frequency_penalty": 1, "presence_penalty": -1, "repetition_penalty": 1.1,
    "prompt_logprobs": 0, "logprob_token_ids": [5], "repetition_detection": {"max_pattern_size": 3, "min_count": 2},
    "spaces_between_special_tokens": False, "length_penalty": -1e300, "top_logprobs": 5,
}  # fmt: skip


@pytest.mark.parametrize("field", ASKS)
def test_a_field_that_beam_search_does_not_read_is_refused_by_name(field: str) -> None:
    with pytest.raises(RequestError) as refusal:
        beam_search.check({"use_beam_search": True, "n": 2, field: ASKS[field]})
    assert refusal.value.param == field


def test_what_asks_for_nothing_may_stand_beside_beam_search() -> None:
    neutral = {"stop": [], "response_format": {"type": "text"}, "top_p": 1.0, "top_k": -1, "min_tokens": 0}
    beam_search.check(
        {"use_beam_search": True, "n": 2, "temperature": 0, "length_penalty": 0.5, "top_logprobs": 4, **neutral}
    )


def test_a_length_penalty_needs_beam_search() -> None:
    beam_search.check({"length_penalty": 1.0})
    with pytest.raises(RequestError, match="use_beam_search"):
        beam_search.check({"length_penalty": 2.0})


def test_every_field_of_vllm_is_read_by_beam_search_or_refused_beside_it() -> None:
    from llava_interleave_serve.server.prompt.chat_request import ChatRequest

    read = {
        "model", "n", "max_tokens", "max_completion_tokens", "temperature", "ignore_eos", "length_penalty", "logprobs",
        "include_stop_str_in_output", "skip_special_tokens", "stream", "stream_options", "return_token_ids",
        "return_tokens_as_token_ids", "top_logprobs", "use_beam_search",
    }  # fmt: skip
    assert read | beam_search.UNREAD.keys() == ChatRequest.sampling_fields


@pytest.mark.parametrize(("beams", "prompt", "most"), [(1, 3_000, 2_862), (4, 3_000, 1_038), (10, 8_000, 204)])
def test_the_memory_of_beams_is_bounded(beams: int, prompt: int, most: int) -> None:
    sampling = {"use_beam_search": True, "n": beams}
    beam_search.check_memory(sampling, prompt, most, 0)
    with pytest.raises(
        LimitExceeded, match=rf"^use_beam_search: beams of up to {most + 1} tokens, .* 128 MiB allowed"
    ) as error:
        beam_search.check_memory(sampling, prompt, most + 1, 0)
    assert error.value.param == "max_tokens"
    beam_search.check_memory({"n": beams}, prompt, 10**6, 10**9)


def test_the_pixels_count_for_each_beam() -> None:
    sampling = {"use_beam_search": True, "n": 4}
    beam_search.check_memory(sampling, 100, 10, 31 << 20)
    with pytest.raises(LimitExceeded, match="32 MiB of pixels"):
        beam_search.check_memory(sampling, 100, 10, 32 << 20)
