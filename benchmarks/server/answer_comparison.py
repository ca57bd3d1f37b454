"""Asks a server a fixed set of questions about visuals, and compares its answers with those of another one."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from llava_interleave_serve.benchmarks.openai_api import content_parts
from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.message_parts import message_parts

TOKENS = 24  # of an answer, at most
LIKELIEST = 5  # tokens at each position whose log probabilities are compared: the demo is sure of the first
BILINEAR, AVERAGE, MAX = ({"pooling": mode, "pool_stride": 2} for mode in ("bilinear", "average", "max"))
# Families of questions about one image, several images, a video and camera views, and how these are pooled.
ABOUT_VISUALS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("describe", {}), ("describe", {}), ("describe", AVERAGE), ("describe", MAX),
    ("which", {}), ("which", {}), ("which", BILINEAR), ("count", {}), ("count", {}), ("change", {}), ("change", {}),
    ("first", {}), ("last", {}), ("motion", {}), ("first", BILINEAR), ("last", AVERAGE), ("motion", MAX),
    ("camera", {}), ("camera", {}), ("camera", {}), ("camera", BILINEAR),
)  # fmt: skip
TEXTS = ("What is shown?", "Which image shows a red circle?", "How does it move?")


def questions() -> list[list[dict[str, Any]]]:
    """The content parts of each question's message: 21 about visuals and 3 texts."""
    messages = []
    for seed, (family, pooling) in enumerate(ABOUT_VISUALS):
        conversation = FAMILIES[family](random.Random(f"comparison {family} {seed}"))
        messages.append(message_parts(conversation, random.Random(seed), pooling))
    return [*messages, *([content_parts.text_part(text)] for text in TEXTS)]


@dataclass(frozen=True)
class Answer:
    """A greedy answer.

    Attributes:
        text: the answer.
        tokens: the bytes of each token.
        logprobs: of the likeliest tokens at each position, by their bytes; of control tokens, which have none, that of
            the likeliest.

    """

    text: str
    tokens: tuple[bytes, ...]
    logprobs: tuple[dict[bytes, float], ...]

    @classmethod
    def of(cls, choice: dict[str, Any]) -> "Answer":
        """The answer of a choice of OpenAI's chat completion."""
        entries = choice["logprobs"]["content"]
        return cls(
            choice["message"]["content"],
            tuple(bytes(entry["bytes"]) for entry in entries),
            tuple(
                {bytes(each["bytes"]): each["logprob"] for each in reversed(entry["top_logprobs"])} for entry in entries
            ),
        )


@dataclass(frozen=True)
class Comparison:
    """How far answers are from others to the same questions.

    Attributes:
        asked: the number of questions.
        same: the number of equal texts.
        difference: the largest difference of a log probability, nats.

    """

    asked: int
    same: int
    difference: float


def compare(expected: Sequence[Answer], answers: Sequence[Answer]) -> Comparison:
    """Compares the texts, and the log probabilities of all tokens that both answers list at a position.

    Positions behind the first other token have other texts before them, and are left out.
    """
    differences = [0.0]
    for first, second in zip(expected, answers, strict=True):
        for index, (left, right) in enumerate(zip(first.logprobs, second.logprobs, strict=False)):
            differences += [abs(left[token] - right[token]) for token in left.keys() & right.keys()]
            if first.tokens[index] != second.tokens[index]:
                break
    same = sum(first.text == second.text for first, second in zip(expected, answers, strict=True))
    return Comparison(len(expected), same, max(differences))


async def ask(client: httpx.AsyncClient, model: str, content: list[dict[str, Any]]) -> Answer:
    """Asks one question. Raises httpx.HTTPError if it is not answered."""
    body = {
        "model": model, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": TOKENS,
        "logprobs": True, "top_logprobs": LIKELIEST,
    }  # fmt: skip
    response = await client.post("/v1/chat/completions", json=body)
    return Answer.of(response.raise_for_status().json()["choices"][0])


async def ask_all(
    client: httpx.AsyncClient, model: str, messages: Sequence[list[dict[str, Any]]]
) -> tuple[list[Answer], list[Answer]]:
    """Asks the questions one after the other, and then all at once."""
    alone = [await ask(client, model, content) for content in messages]
    return alone, list(await asyncio.gather(*(ask(client, model, content) for content in messages)))
