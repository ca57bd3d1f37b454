"""Questions with known answers about the demo's scenes; most answers depend on where a visual stands."""

import random
from dataclasses import dataclass

from llava_interleave_serve.demo.scenes import permutations, questions
from llava_interleave_serve.demo.scenes.drawing import Scene
from llava_interleave_serve.demo.scenes.questions import Conversation


@dataclass(frozen=True, slots=True)
class Probe:
    """Scenes, their names if they are camera views, one question, and the right answer."""

    scenes: tuple[Scene, ...]
    names: tuple[str, ...]
    question: str
    right: str


def _talk(family: str, rng: random.Random, visuals: int) -> Conversation:
    match family:
        case "describe" | "which" | "count":
            return questions.images(rng, visuals, 3)
        case "change":
            return questions.difference(rng, 1)
        case "camera":
            return questions.cameras(rng, visuals, 1)
        case _:
            return questions.video(rng, visuals, 2)


def make(family: str, rng: random.Random, visuals: int) -> Probe:
    """A question of the family about so many visuals (`change` always has two)."""
    while True:
        talk = _talk(family, rng, visuals)
        for turn in talk.turns:
            if turn.family == family and not talk.visuals_per_turn:
                return Probe(tuple(talk.scenes), tuple(talk.names), turn.question, turn.answer)


def reordered(family: str, probe: Probe, rng: random.Random) -> Probe:
    """The same question about the same scenes in another order, with the answer that is right there."""
    talk = Conversation(
        list(probe.scenes), [questions.Turn(probe.question, probe.right, family)], names=list(probe.names)
    )
    while True:
        other = permutations.permuted(family, talk, rng)
        if other is None:
            raise ValueError(f"the answers of {family} do not follow the order")
        if other.scenes != talk.scenes:
            return Probe(tuple(other.scenes), tuple(other.names), other.turns[0].question, other.turns[0].answer)
