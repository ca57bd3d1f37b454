"""A run's requests, all fixed before the first is sent: what, and when it is due."""

import itertools
import random
from dataclasses import dataclass

from llava_interleave_serve.benchmarks.load.requests.arrivals import Due
from llava_interleave_serve.benchmarks.load.requests.deck import Deck
from llava_interleave_serve.benchmarks.load.requests.messages import Turn
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass, Workload


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `due` is in seconds from the start; in a closed loop, from the end of the turn before."""

    number: int
    kind: RequestClass
    conversation: int
    turn: int
    due: float
    content: Turn
    repeat: str = ""

    @property
    def images(self) -> int:
        return sum(message.images for message in self.content.messages)

    @property
    def frames(self) -> int:
        return sum(message.frames for message in self.content.messages)


def make(workload: Workload, arrivals: list[Due], seed: int) -> list[Ask]:
    """The requests of a run, by the time they are due.

    Each arrival begins a conversation of the class it names, or else of one drawn by weight; the conversation's further
    turns are due `think` seconds apart, whether or not the answer has come. Raises WorkloadError for an unknown class.
    """
    rng = random.Random(f"classes {seed}")
    decks = {kind.name: Deck(kind, f"{kind.name} {seed}") for kind in workload.classes}
    weights = [kind.weight for kind in workload.classes]
    numbers = itertools.count()
    asks: list[Ask] = []
    for conversation, (due, name) in enumerate(arrivals):
        kind = workload.class_named(name) if name is not None else rng.choices(workload.classes, weights)[0]
        drawn = decks[kind.name].draw()
        asks += [
            Ask(next(numbers), kind, conversation, at, due + at * kind.think, turn, drawn.repeat)
            for at, turn in enumerate(drawn.turns)
        ]
    return sorted(asks, key=lambda ask: ask.due)


def conversations(asks: list[Ask]) -> list[list[Ask]]:
    """The requests grouped by conversation, turns in order."""
    groups: dict[int, list[Ask]] = {}
    for ask in sorted(asks, key=lambda ask: (ask.conversation, ask.turn)):
        groups.setdefault(ask.conversation, []).append(ask)
    return list(groups.values())
