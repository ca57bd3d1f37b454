"""Beam search: the fields that can stand beside `use_beam_search`, and the memory that it takes.

vLLM's reads few fields, and drops the others unsaid.
"""

from collections.abc import Mapping
from typing import Any

from llava_interleave_serve.server.errors import LimitExceeded, RequestError
from llava_interleave_serve.server.prompt.neutral_fields import is_one_of

# Fields that beam search does not read, and the values at which they ask for nothing.
UNREAD: Mapping[str, tuple[Any, ...]] = {
    "allowed_token_ids": (), "bad_words": ([],), "frequency_penalty": (0,), "logit_bias": ({},),
    "logprob_token_ids": ([],), "min_p": (0,), "min_tokens": (0,), "presence_penalty": (0,), "prompt_logprobs": (),
    "repetition_detection": (), "repetition_penalty": (1,), "response_format": ({"type": "text"},), "seed": (),
    "spaces_between_special_tokens": (True,), "stop": ([],), "stop_token_ids": ([],), "structured_outputs": (),
    "top_k": (0, -1), "top_p": (1,),
}  # fmt: skip
MOST_KEPT_BYTES = 128 << 20  # of the beams of a request
MOST_LENGTH_PENALTY = 10  # a beam's score is divided by its length to this power, which must be no 0 and no infinity


def check(sampling: Mapping[str, Any]) -> None:
    """Raises RequestError of a field that cannot be honoured with beam search, or only with it."""
    penalty = sampling.get("length_penalty", 1)
    if not sampling.get("use_beam_search"):
        if penalty != 1:
            raise RequestError("length_penalty needs use_beam_search to be true", param="length_penalty")
        return
    for name, neutral in UNREAD.items():
        if name in sampling and not is_one_of(sampling[name], neutral):
            raise RequestError(f"{name} cannot be kept with use_beam_search: leave one of the two out", param=name)
    if isinstance(penalty, int | float) and abs(penalty) > MOST_LENGTH_PENALTY:
        raise RequestError(
            f"length_penalty must be from -{MOST_LENGTH_PENALTY} to {MOST_LENGTH_PENALTY}, not {penalty}",
            param="length_penalty",
        )
    beams, tops = sampling.get("n", 1), sampling.get("top_logprobs", 0)
    if isinstance(tops, int | float) and not 0 <= tops <= 2 * beams:
        raise RequestError(
            f"top_logprobs must be from 0 to {2 * beams}, twice n, with use_beam_search, not {tops}",
            param="top_logprobs",
        )


def kept_bytes(sampling: Mapping[str, Any], prompt_tokens: int, answer_tokens: int, pixels: int) -> int:
    """The memory that a request's beams may take; 0 without beam search.

    At every token each beam may end, and vLLM keeps those that did to the end of the search, with all their tokens and
    those of the prompt, 8 bytes each. And it sends the pixels with every beam to the engine, at every token.

    answer_tokens: the most that the answer can have.
    pixels: bytes of all views of the prompt.
    """
    beams = (sampling.get("n") or 1) if sampling.get("use_beam_search") else 0
    return beams * (8 * answer_tokens * (prompt_tokens + answer_tokens) + pixels)


def check_memory(sampling: Mapping[str, Any], prompt_tokens: int, answer_tokens: int, pixels: int) -> None:
    """Raises LimitExceeded for beams that may take more than MOST_KEPT_BYTES; the arguments are as of `kept_bytes`."""
    if kept_bytes(sampling, prompt_tokens, answer_tokens, pixels) > MOST_KEPT_BYTES:
        raise LimitExceeded(
            f"use_beam_search: beams of up to {answer_tokens} tokens, behind a prompt of {prompt_tokens} and "
            f"{pixels >> 20} MiB of pixels, may take more than the {MOST_KEPT_BYTES >> 20} MiB allowed; set a smaller "
            "max_tokens, or n",
            param="max_tokens",
        )
