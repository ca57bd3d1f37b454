"""Limits of the structured output that a client may ask for: structures that compile for minutes are refused.

The engine compiles a schema, a regular expression or a grammar to an automaton: an enum of 20,000 values takes half a
minute of one core, and so do 2,000 properties, or a repetition that is counted in millions.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Any

from llava_interleave_serve.server.errors import LimitExceeded

MOST_LEVELS, MOST_ITEMS, MOST_CHARACTERS = 32, 1_000, 32_768
MOST_PATTERN, MOST_REPEATS = 500, 10_000  # characters; times
PATTERNS = ("regex", "pattern")
REPEATS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties", "minContains")
_END = object()
_REPEAT = re.compile(r"[{,]\s*(\d+)")


def check(field: str, value: Any) -> None:
    """Raises LimitExceeded of the field if the structure has too many levels, items, characters or repetitions."""
    characters = 0
    for items, (level, name, item) in enumerate(_walk(value), 1):
        characters += len(name) + (len(item) if isinstance(item, str) else 0)
        if level > MOST_LEVELS:
            raise _limit_exceeded(f"nested deeper than the {MOST_LEVELS} levels allowed", field)
        if items > MOST_ITEMS:
            raise _limit_exceeded(f"of more than the {MOST_ITEMS} items allowed", field)
        if characters > MOST_CHARACTERS:
            raise _limit_exceeded(f"longer than the {MOST_CHARACTERS} characters allowed", field)
        if name in PATTERNS and isinstance(item, str) and len(item) > MOST_PATTERN:
            raise _limit_exceeded(f"of a pattern longer than the {MOST_PATTERN} characters allowed", field)
        if _repeats(name, item) > MOST_REPEATS:
            raise _limit_exceeded(f"of more than the {MOST_REPEATS} repetitions allowed", field)


def _limit_exceeded(what: str, field: str) -> LimitExceeded:
    return LimitExceeded(f"the structure is {what}", param=field)


def _walk(value: Any) -> Iterator[tuple[int, str, Any]]:
    """Yields every item of a JSON value with its level and its name; the name is empty in lists."""
    # One iterator a level: a list is never copied, however long it is.
    levels: list[Iterator[tuple[str, Any]]] = [iter([("", value)])]
    while levels:
        name, item = next(levels[-1], ("", _END))
        if item is _END:
            levels.pop()
            continue
        yield len(levels) - 1, name, item
        if isinstance(item, dict):
            levels.append(iter(item.items()))
        elif isinstance(item, list):
            levels.append(zip(itertools.repeat(""), item))


def _repeats(name: str, item: Any) -> float:
    """The number of repetitions that the item asks for; 0 if it asks for none."""
    if name in REPEATS and isinstance(item, int | float):
        return item
    if name in PATTERNS and isinstance(item, str):
        return max((int(count[:9]) for count in _REPEAT.findall(item)), default=0)
    return 0
