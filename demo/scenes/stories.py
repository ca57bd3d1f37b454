"""Conversations about what comes one after the other: stories, series that go on, and videos in a sentence."""

import random
from collections.abc import Sequence
from dataclasses import replace

from llava_interleave_serve.demo.scenes import questions
from llava_interleave_serve.demo.scenes.drawing import COLOURS, KINDS, SHAPES, Kind, Scene, compose, shade
from llava_interleave_serve.demo.scenes.questions import Conversation, stepwise


def told(kinds: Sequence[Kind], visuals: Sequence[int]) -> list[tuple[str, int]]:
    """`First a red circle, then a blue star.`, each piece with the visual that tells it."""
    pieces = [f"First a {kinds[0]}", *(f", then a {kind}" for kind in kinds[1:])]
    pieces[-1] += "."
    return list(zip(pieces, visuals, strict=True))


def story(rng: random.Random, number: int, turns: int) -> Conversation:
    """Images of one thing each, to be told in their order, and questions about single ones."""
    kinds = rng.sample(KINDS, number)
    scenes = [compose(rng, [kind]) for kind in kinds]
    turn = stepwise(
        rng.choice(("Tell the story.", "Tell the story of the images.")), told(kinds, range(number)), "story"
    )
    return Conversation(
        scenes, [turn, *questions.ask(rng, scenes, [questions.which_image, questions.describe], turns - 1)]
    )


def puzzle(rng: random.Random, number: int) -> Conversation:
    """Images that repeat two or three things by turns, all in one place: `What comes next?`"""
    period = 2 if number < 4 else rng.randint(2, 3)
    cycle = _cycle(rng, period)
    series = [cycle[at % period] for at in range(number + 1)]
    answer = questions.listing(series[-1:])
    question = rng.choice(("What comes next?", "What comes next in the series?"))
    return Conversation(still(rng, series[:-1]), [stepwise(question, [(answer, number - 1)], "puzzle", "next")])


def _cycle(rng: random.Random, period: int) -> list[Kind]:
    """Different kinds, often alike in colour or shape."""
    match rng.choice(("colours", "shapes", "any", "any")):
        case "colours":
            shape = rng.choice(SHAPES)
            return [Kind(colour, shape) for colour in rng.sample(tuple(COLOURS), period)]
        case "shapes":
            colour = rng.choice(tuple(COLOURS))
            return [Kind(colour, shape) for shape in rng.sample(SHAPES, period)]
        case _:
            return rng.sample(KINDS, period)


def still(rng: random.Random, kinds: Sequence[Kind]) -> list[Scene]:
    """A series of pictures that show one kind after the other in the same place."""
    paper = compose(rng, [kinds[0]])
    (thing,) = paper.things
    return [replace(paper, things=(replace(thing, kind=kind, rgb=shade(rng, kind.colour)),)) for kind in kinds]


def video(rng: random.Random, frames: int, turns: int) -> Conversation:
    """A video, described in a sentence, and asked about."""
    talk = questions.video(rng, frames, turns)
    question = rng.choice(("Describe the video.", "What happens in the video?"))
    talk.turns.insert(rng.randint(0, len(talk.turns)), stepwise(question, captions(talk), "video caption"))
    return talk


def captions(talk: Conversation) -> list[tuple[str, int]]:
    """`A red circle moves to the left.`, or what the video shows first and then, with the frames that tell it."""
    moves = [turn.answer.removeprefix("It ") for turn in talk.turns if turn.family == "motion"]
    if moves:
        return [(f"A {talk.scenes[0].kinds[0]} {moves[0]}", len(talk.scenes) - 1)]
    kinds = [scene.kinds[0] for scene in talk.scenes]
    starts = [at for at, kind in enumerate(kinds) if at == 0 or kind != kinds[at - 1]]
    return told([kinds[at] for at in starts], starts)
