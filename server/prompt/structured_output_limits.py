"""Limits of the structured output that a client may ask for: structures that compile for minutes are refused.

The engine compiles a schema, a regular expression or a grammar to an automaton: an enum of 20,000 values takes half a
minute of one core, and so do 2,000 properties, or a repetition that is counted in millions.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jiter

from llava_interleave_serve.server.errors import LimitExceeded, RequestError


class Size(NamedTuple):
    """The most levels, items and characters that a JSON value may have."""

    levels: int
    items: int
    characters: int


COMPILED = Size(levels=32, items=1_000, characters=32_768)
MOST_PATTERN, MOST_REPEATS = 500, 10_000  # characters; times
# Repetitions that all patterns of a schema are written out to. That takes time by their square: 70 ms for `.{1,500}`,
# 13 s for `(a|b){1,10000}`, on vLLM's event loop too. A pattern that is the whole structure is not written out.
MOST_WRITTEN_OUT = 500
PATTERNS = ("regex", "pattern", "whitespace_pattern")
# Counts of JSON schema, and of xgrammar's structural tags.
REPEATS = (
    "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties", "minContains", "max_chars",
    "max_tokens",
)  # fmt: skip
JSON_TEXTS = ("json", "structural_tag")  # members of structured_outputs that may be JSON in a string
_END = object()
_REPEAT = re.compile(r"[{,]\s*(\d+)")
_COUNTED = re.compile(r"(\)?)\s*\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")  # of a group, or of one character
# `x{2,5}` of EBNF, `x~2..5` of Lark
_GRAMMAR_REPEAT = re.compile(r"[{~]\s*(?:\d+\s*(?:,|\.\.)\s*)?(\d+)")


def check(field: str, value: Any) -> None:
    """Raises LimitExceeded of the field if the structure has too many levels, items, characters or repetitions.

    JSON in a string counts like other JSON. Raises RequestError for a string that should be JSON and is not.
    """
    written_out = 0
    for name, item in _within_size(field, value, COMPILED):
        for pattern in _patterns(name, item):
            written_out += 0 if name == "regex" else _written_out(pattern)
            if written_out > MOST_WRITTEN_OUT:
                raise _limit_exceeded(f"of patterns with more than the {MOST_WRITTEN_OUT} repetitions allowed", field)
            if len(pattern) > MOST_PATTERN:
                raise _limit_exceeded(f"of a pattern longer than the {MOST_PATTERN} characters allowed", field)
            if _most_counted(_REPEAT, pattern) > MOST_REPEATS:
                raise _limit_exceeded(f"of more than the {MOST_REPEATS} repetitions allowed", field)
        if _repeats(name, item) > MOST_REPEATS:
            raise _limit_exceeded(f"of more than the {MOST_REPEATS} repetitions allowed", field)


def check_size(field: str, value: Any, most: Size) -> None:
    """Raises LimitExceeded of the field for a JSON value, compiled by nobody, that is larger than the most allowed."""
    for _ in _within_size(field, value, most):
        pass


def _within_size(field: str, value: Any, most: Size) -> Iterator[tuple[str, Any]]:
    """Yields every item of a JSON value with its name. Raises LimitExceeded when there are more than allowed."""
    characters = 0
    for items, (level, name, item) in enumerate(_walk(field, value), 1):
        characters += len(name) + (len(item) if isinstance(item, str) else 0)
        if level > most.levels:
            raise _limit_exceeded(f"nested deeper than the {most.levels} levels allowed", field)
        if items > most.items:
            raise _limit_exceeded(f"of more than the {most.items} items allowed", field)
        if characters > most.characters:
            raise _limit_exceeded(f"longer than the {most.characters} characters allowed", field)
        yield name, item


def _limit_exceeded(what: str, field: str) -> LimitExceeded:
    return LimitExceeded(f"the structure is {what}", param=field)


def _walk(field: str, value: Any) -> Iterator[tuple[int, str, Any]]:
    """Yields every item of a JSON value with its level and its name; the name is empty in lists."""
    # One iterator a level: a list is never copied, however long it is.
    levels: list[Iterator[tuple[str, Any]]] = [iter([("", value)])]
    while levels:
        name, item = next(levels[-1], ("", _END))
        if item is _END:
            levels.pop()
            continue
        level = len(levels) - 1
        if level == 1 and name in JSON_TEXTS and isinstance(item, str):
            item = _decoded(field, name, item)
        yield level, name, item
        if isinstance(item, dict):
            levels.append(iter(item.items()))
        elif isinstance(item, list):
            levels.append(zip(itertools.repeat(""), item))


def _decoded(field: str, name: str, text: str) -> Any:
    """The JSON value of a text; the text itself if it is too long to be looked into."""
    if len(text) > COMPILED.characters:
        return text
    try:
        return jiter.from_json(text.encode(), allow_inf_nan=False)
    except ValueError:
        raise RequestError(f"{field}: the text of {name!r} is not JSON, or too deep", param=field) from None


def _patterns(name: str, item: Any) -> Iterator[str]:
    """Yields the regular expressions that the item has: itself, or the names of its members."""
    if name in PATTERNS and isinstance(item, str):
        yield item
    elif name == "patternProperties" and isinstance(item, dict):
        yield from item


def _repeats(name: str, item: Any) -> float:
    """The number of repetitions that the item asks for; 0 if it asks for none."""
    if name in REPEATS and isinstance(item, int | float):
        return item
    if name == "grammar" and isinstance(item, str):
        return _most_counted(_GRAMMAR_REPEAT, item)
    if isinstance(item, dict) and item.get("type") == "repeat":  # of xgrammar's structural tags
        most = item.get("max")
        return most if isinstance(most, int | float) else 0
    return 0


def _written_out(pattern: str) -> int:
    """The repetitions that a pattern has at most when it is written out, as if its counted groups were nested."""
    of_groups, of_characters = 1, 0
    for group, least, most in _COUNTED.findall(pattern):
        times = max(int(least[:9] or 0), int(most[:9] or 0))
        if group:
            of_groups *= max(1, times)
        else:
            of_characters += times
    return of_groups * max(1, of_characters) if of_groups > 1 or of_characters else 0


def _most_counted(counts: re.Pattern[str], text: str) -> int:
    """The largest number that the pattern finds in the text."""
    return max((int(count[:9]) for count in counts.findall(text)), default=0)
