"""Bodies of chat requests to the demo."""

import json
import random
from typing import Any

from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.message_parts import message_parts

FAMILY = "describe"  # questions about one picture


def question(number: int, **fields: Any) -> dict[str, Any]:
    """A question about a picture; those of different numbers show different pictures."""
    rng = random.Random(number)
    content = message_parts(FAMILIES[FAMILY](rng), rng, {})
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 24, "temperature": 0, **fields}


def large_body(number: int, size: int) -> bytes:
    """The body of a question of exactly so many bytes: the data URL of its picture ends in white space."""
    body = json.dumps(question(number)).encode()
    end = body.index(b'"', body.index(b'"data:') + 1)
    return body[:end] + b" " * (size - len(body)) + body[end:]


def long_answer(number: int, tokens: int, **fields: Any) -> dict[str, Any]:
    """A question that is answered with exactly so many tokens."""
    return question(number, max_tokens=tokens, ignore_eos=True, **fields)
