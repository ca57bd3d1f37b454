"""Conversations about sequences: stories, series to be continued, and captions of videos."""

import random
from collections.abc import Sequence
from dataclasses import replace

from llava_interleave_serve.demo.scenes import questions
from llava_interleave_serve.demo.scenes.colours import COLOURS
from llava_interleave_serve.demo.scenes.composing import PLAIN, Artist
from llava_interleave_serve.demo.scenes.drawing import KINDS, SHAPES, Kind, Scene
from llava_interleave_serve.demo.scenes.questions import Conversation, Step, stepwise_turn


def narration_steps(kinds: Sequence[Kind], visuals: Sequence[int]) -> list[Step]:
    """The steps of `First a red circle, then a blue star.`, each with the index of the visual that shows the kind."""
    pieces = [f"First a {kinds[0]}", *(f", then a {kind}" for kind in kinds[1:])]
    pieces[-1] += "."
    return [Step(text, visual, kind) for text, visual, kind in zip(pieces, visuals, kinds, strict=True)]


def story(rng: random.Random, number: int, turns: int, artist: Artist = PLAIN) -> Conversation:
    """Images of one thing each; a story of them in their order, and questions about single images."""
    kinds = rng.sample(KINDS, number)
    scenes = [artist.compose(rng, [kind]) for kind in kinds]
    turn = stepwise_turn(
        rng.choice(("Tell the story.", "Tell the story of the images.")), narration_steps(kinds, range(number)), "story"
    )
    return Conversation(
        scenes, [turn, *questions.ask(rng, scenes, [questions.which_image, questions.describe], turns - 1)]
    )


def puzzle(rng: random.Random, number: int, artist: Artist = PLAIN) -> Conversation:
    """Images that repeat two or three things in turn, all at one position: `What comes next?`"""
    period = 2 if number < 4 else rng.randint(2, 3)
    cycle = _cycle(rng, period)
    series = [cycle[index % period] for index in range(number + 1)]
    answer = questions.listing(series[-1:])
    question = rng.choice(("What comes next?", "What comes next in the series?"))
    return Conversation(
        same_place_scenes(rng, series[:-1], artist),
        [stepwise_turn(question, [Step(answer, number - 1)], "puzzle", "next")],
    )


def _cycle(rng: random.Random, period: int) -> list[Kind]:
    """Draws different kinds, often with a common colour or shape."""
    match rng.choice(("colours", "shapes", "any", "any")):
        case "colours":
            shape = rng.choice(SHAPES)
            return [Kind(colour, shape) for colour in rng.sample(tuple(COLOURS), period)]
        case "shapes":
            colour = rng.choice(tuple(COLOURS))
            return [Kind(colour, shape) for shape in rng.sample(SHAPES, period)]
        case _:
            return rng.sample(KINDS, period)


def same_place_scenes(rng: random.Random, kinds: Sequence[Kind], artist: Artist = PLAIN) -> list[Scene]:
    """Draws one scene for each kind, all with one thing at the same position."""
    while True:
        scene = artist.compose(rng, [kinds[0]])
        things = [artist.repaint(rng, scene, scene.things[0], kind) for kind in kinds]
        if None not in things:
            return [replace(scene, things=(thing,)) for thing in things if thing is not None]


def video(rng: random.Random, frames: int, turns: int, artist: Artist = PLAIN) -> Conversation:
    """A video, its caption, and questions about it."""
    conversation = questions.video(rng, frames, turns, artist)
    question = rng.choice(("Describe the video.", "What happens in the video?"))
    if all(scene.things for scene in conversation.scenes):
        conversation.turns.insert(
            rng.randint(0, len(conversation.turns)),
            stepwise_turn(question, caption_steps(conversation), "video caption"),
        )
    return conversation


def caption_steps(conversation: Conversation) -> list[Step]:
    """The steps of the caption `A red circle moves to the left.`, or of a story, with the indices of the frames."""
    moves = [turn.answer.removeprefix("It ") for turn in conversation.turns if turn.family == "motion"]
    if moves:
        return [Step(f"A {conversation.scenes[0].kinds[0]} {moves[0]}", len(conversation.scenes) - 1)]
    kinds = [scene.kinds[0] for scene in conversation.scenes]
    starts = [frame for frame, kind in enumerate(kinds) if frame == 0 or kind != kinds[frame - 1]]
    return narration_steps([kinds[frame] for frame in starts], starts)
