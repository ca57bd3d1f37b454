"""Visuals and text to the turns of a conversation."""

import random

from llava_interleave_serve.benchmarks.load.requests import words
from llava_interleave_serve.benchmarks.load.requests.messages import Message, Part, Text, Turn
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass

ANSWER_WORDS = 20  # of the assistant's turns in a history: answers are written here, so that no turn waits for another


def questions(kind: RequestClass, rng: random.Random) -> tuple[str, ...]:
    """New text for each turn."""
    turns = rng.choice(kind.turns)
    return tuple(words.some(rng, rng.choice(kind.prompt_words)) for _ in range(turns))


def turns(
    kind: RequestClass, rng: random.Random, visuals: tuple[Part, ...], texts: tuple[str, ...], right: str | None = None
) -> tuple[Turn, ...]:
    """One request a text, each with the messages before it; the visuals are in the first message."""
    messages: list[Message] = []
    written = []
    for at, text in enumerate(texts):
        parts = placed(kind.placement, rng, visuals, text) if at == 0 else (Text(text),)
        messages.append(Message("user", parts))
        written.append(Turn(tuple(messages), rng.choice(kind.answer_tokens), right))
        messages.append(Message("assistant", (Text(words.some(rng, ANSWER_WORDS)),)))
    return tuple(written)


def placed(placement: str, rng: random.Random, visuals: tuple[Part, ...], text: str) -> tuple[Part, ...]:
    """The visuals in front; or one after each equal piece of the text; or anywhere between its words."""
    if placement == "front" or not visuals:
        return (*visuals, Text(text))
    said = text.split()
    if placement == "alternating":
        cuts = [len(said) * (at + 1) // (len(visuals) + 1) for at in range(len(visuals))]
    else:
        cuts = sorted(rng.randint(0, len(said)) for _ in visuals)
    parts: list[Part] = []
    for visual, start, end in zip(visuals, [0, *cuts], cuts, strict=False):
        parts += [*_text(said[start:end]), visual]
    return (*parts, *_text(said[cuts[-1] :]))


def _text(said: list[str]) -> list[Part]:
    return [Text(" ".join(said))] if said else []
