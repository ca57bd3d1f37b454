"""The bound on the log probabilities of an answer, those of all its tokens and choices together.

Each takes the server 6 us, BYTES until its answer is made, and for a moment half a kilobyte more.
"""

from collections.abc import Mapping
from typing import Any

from llava_interleave_serve.server.errors import LimitExceeded
from llava_interleave_serve.server.prompt.chat_request import ChatRequest

BYTES = 256


def check(sampling: Mapping[str, Any], tokens: int, most: int, prompts: int = 1) -> None:
    """Raises LimitExceeded if the answer could have more log probabilities than this server allows.

    sampling: vLLM's fields, of a chat or of a completion.
    tokens: the most that a choice can have.
    most: log probabilities that are allowed.
    """
    each, choices = _of_a_token(sampling), prompts * (sampling.get("n") or 1)
    if choices * tokens * each > most:
        field = "top_logprobs" if "top_logprobs" in sampling else "logprobs"
        raise LimitExceeded(
            f"{field}: the {choices * tokens} tokens that the answer may have, with {each} log probabilities each, are "
            f"more than the {most} that this server allows; set a smaller max_tokens",
            param=field,
        )


def bounded(chat: ChatRequest, tokens: int, most: int) -> ChatRequest:
    """The request itself, or one with the `max_tokens` that the bound leaves, if it says nothing of its length.

    tokens: the most that a choice can have, by what the request says and the model allows.
    most: log probabilities that are allowed.

    Raises LimitExceeded as `check` does.
    """
    sampling = chat.sampling
    if each := _of_a_token(sampling) * (chat.n or 1):
        left, least = most // each, sampling.get("min_tokens")
        if chat.most_tokens is None and max(1, least if isinstance(least, int) else 0) <= left < tokens:
            return chat.model_copy(update={"max_tokens": left})
        check(sampling, tokens, most)
    return chat


def kept_bytes(sampling: Mapping[str, Any], tokens: int, prompts: int = 1) -> int:
    """The memory that the log probabilities of an answer may take; the arguments are as of `check`."""
    return BYTES * prompts * (sampling.get("n") or 1) * tokens * _of_a_token(sampling)


def _of_a_token(sampling: Mapping[str, Any]) -> int:
    """The log probabilities of each token: its own, and those of the tokens that are named, or of the likeliest."""
    asked = sampling.get("logprobs")
    if asked is None or asked is False:
        return 0
    if isinstance(named := sampling.get("logprob_token_ids"), list) and named:
        return 1 + len(named)
    likeliest: int = (sampling.get("top_logprobs") or 0) if asked is True else asked
    return 1 + likeliest
