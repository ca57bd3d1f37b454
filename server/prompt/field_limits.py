"""Limits of the fields that are passed on to the engine: numbers of 64 bits, short texts, few items.

vLLM collects an error for each item of a list that it refuses. So a list is as long as a vocabulary only where each of
its items is known to pass. It tokenises `bad_words` on the event loop, and puts what it refuses into its messages.
"""

import math
from typing import Any

from llava_interleave_serve.server.engine.base import STRUCTURE_FIELDS
from llava_interleave_serve.server.errors import LimitExceeded, RequestError
from llava_interleave_serve.server.prompt import structured_output_limits

MOST_INTEGER = 2**63
MOST_ITEMS = 1_000
LONGEST_ID = 20  # characters of a token id, which is a number of 64 bits
MOST_CHARACTERS = 32_768  # of all texts of a field
TOKEN_FIELDS = frozenset({"allowed_token_ids", "logprob_token_ids", "stop_token_ids"})  # lists of token ids
TOKEN_WEIGHTS = "logit_bias"  # noqa: S105 - the name of a field: an object of numbers by token


def check(field: str, value: Any) -> None:
    """Raises RequestError of the field for a number or a number of items that the engine is not to see."""
    if field in STRUCTURE_FIELDS:
        structured_output_limits.check(field, value)
    elif not _is_of_tokens(field, value):
        if isinstance(value, list | dict) and len(value) > MOST_ITEMS:
            raise LimitExceeded(f"{field} has {len(value)} items, more than the {MOST_ITEMS} allowed", param=field)
        if _characters(value) > MOST_CHARACTERS:
            raise LimitExceeded(f"{field} is longer than the {MOST_CHARACTERS} characters allowed", param=field)
    if not fits(value):
        raise RequestError(f"{field}: a number is too large", param=field)


def _is_of_tokens(field: str, value: Any) -> bool:
    """True if the field is about tokens and each of its items is of the type that vLLM takes."""
    if field in TOKEN_FIELDS and isinstance(value, list):
        return all(type(item) is int for item in value)
    if field == TOKEN_WEIGHTS and isinstance(value, dict):
        return all(len(name) < LONGEST_ID and type(item) in (int, float) for name, item in value.items())
    return False


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
