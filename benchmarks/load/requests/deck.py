"""Conversations of one class, one after the other: new ones, and ones that go back to what was shown before."""

import random
from collections import deque
from typing import Any, Protocol

from llava_interleave_serve.benchmarks.load.requests.messages import Conversation, Turn
from llava_interleave_serve.benchmarks.load.requests.showing import Showing
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass

REMEMBERED = 16  # how many earlier conversations a repeated one is chosen from


class Made(Protocol):
    @property
    def turns(self) -> tuple[Turn, ...]: ...


class Maker(Protocol):
    """Makes a new conversation, or an earlier one again, repeated as workload.Repeat names it."""

    def new(self) -> Any: ...

    def again(self, earlier: Any, repeat: str) -> Any: ...


def _maker(kind: RequestClass, rng: random.Random) -> Maker:
    if kind.ask is None:
        return Showing(kind, rng)
    from llava_interleave_serve.benchmarks.load.requests.asking import Asking  # noqa: PLC0415 - brings torch

    return Asking(kind, rng)


class Deck:
    """Draws the conversations of a class; all follow from the seed."""

    def __init__(self, kind: RequestClass, seed: str) -> None:
        self.kind = kind
        self.rng = random.Random(seed)
        self._maker = _maker(kind, self.rng)
        self._earlier: deque[Made] = deque(maxlen=REMEMBERED)

    def draw(self) -> Conversation:
        repeat = self._repeat()
        if not repeat:
            made: Made = self._maker.new()
            self._earlier.append(made)
            return Conversation(made.turns)
        at = self.rng.randrange(len(self._earlier))
        made = self._maker.again(self._earlier[at], repeat)
        if repeat == "sliding":
            self._earlier[at] = made  # the window goes on from here
        return Conversation(made.turns, repeat)

    def _repeat(self) -> str:
        place = self.rng.random()
        for name, share in self.kind.repeat.shares.items():
            if place < share:
                return name if self._earlier else ""
            place -= share
        return ""
