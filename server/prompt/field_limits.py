"""Limits of the fields that are passed on to the engine: numbers of 64 bits, short texts, few items.

What vLLM looks through for each token of each choice, while every other stream waits, is bounded so that this takes
fractions of a millisecond. vLLM collects an error for each item of a list that it refuses, tokenises `bad_words`, and
puts what it refuses into its messages.
"""

import math
from typing import Any

from llava_interleave_serve.server.engine.base import STRUCTURE_FIELDS
from llava_interleave_serve.server.errors import LimitExceeded, RequestError
from llava_interleave_serve.server.prompt import structured_output_limits

MOST_INTEGER = 2**63
MOST_ITEMS = 1_000  # of other lists and objects
MOST_CHARACTERS = 32_768  # of all texts of a field
REPETITION = "repetition_detection"
# vLLM's second model runner, its default on CUDA, dies of 1,025 biased or allowed tokens, and of 129 tokens of an end,
# the checkpoint's own among them. Its first one makes a new tensor of biases whenever a request comes or goes: 0.4 s
# for 150,000 in each of 16 choices, and 22 ms a token; 3 ms and 0.1 ms for 1,024.
MOST_BY_FIELD = {
    "stop": 32,  # 4 us a token and choice; 0.1 ms for 1,000
    "stop_token_ids": 100,  # 0.7 us a token and choice; 0.9 ms for a vocabulary
    "logprob_token_ids": 128,
    "allowed_token_ids": 1_024,
    "logit_bias": 1_024,
}
# After each token vLLM compares the last ones with those before, in Python: 0.16 ms at most with these, whatever the
# answer is; 0.9 s for a pattern of 3,600 tokens behind 11,000.
MOST_OF_REPETITION = {"max_pattern_size": 64, "min_pattern_size": 64, "min_count": 16}


def check(field: str, value: Any) -> None:
    """Raises RequestError of the field for a number or a number of items that the engine is not to see."""
    if field in STRUCTURE_FIELDS:
        structured_output_limits.check(field, value)
    else:
        most = MOST_BY_FIELD.get(field, MOST_ITEMS)
        if isinstance(value, list | dict) and len(value) > most:
            raise LimitExceeded(f"{field} has {len(value)} items, more than the {most} allowed", param=field)
        if _characters(value) > MOST_CHARACTERS:
            raise LimitExceeded(f"{field} is longer than the {MOST_CHARACTERS} characters allowed", param=field)
    if not fits(value):
        raise RequestError(f"{field}: a number is too large", param=field)
    if field == REPETITION:
        _check_repetition(value)


def _check_repetition(value: Any) -> None:
    if not isinstance(value, dict):
        raise RequestError(f"{REPETITION} should be an object", param=REPETITION)
    for name, number in value.items():
        if name not in MOST_OF_REPETITION:
            raise RequestError(f"{REPETITION} has no option {name[:80]!r}", param=REPETITION)
        # vLLM would read "9" and 9.0 as 9, too.
        if type(number) is not int:
            raise RequestError(f"{REPETITION}.{name} should be an integer", param=REPETITION)
        if number > MOST_OF_REPETITION[name]:
            raise LimitExceeded(
                f"{REPETITION}.{name} is {number}, more than the {MOST_OF_REPETITION[name]} allowed", param=REPETITION
            )


def fits(value: Any) -> bool:
    """True if a decoded JSON value has no number beyond 64 bits, and none like 1e999, which is read as infinity."""
    match value:
        case int():
            return -MOST_INTEGER <= value < MOST_INTEGER
        case float():
            return math.isfinite(value)
        case list():
            return all(map(fits, value))
        case dict():
            return all(map(fits, value.values()))
        case _:
            return True


def _characters(value: Any) -> int:
    """The number of characters of all texts of a decoded JSON value, the names in objects included."""
    match value:
        case str():
            return len(value)
        case list():
            return sum(map(_characters, value))
        case dict():
            return sum(map(_characters, (*value, *value.values())))
        case _:
            return 0
