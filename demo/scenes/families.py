"""Families of questions, and conversations of a single question of one of them."""

import random
from collections.abc import Callable
from dataclasses import replace

from llava_interleave_serve.demo.scenes import questions
from llava_interleave_serve.demo.scenes.questions import Conversation

VIDEO_FRAMES = 24  # of a video that a question is asked about
Maker = Callable[[random.Random], Conversation]


def one_question(make: Maker, family: str, rng: random.Random) -> Conversation:
    """Draws conversations from `make` until one asks a question of the family about all of its visuals.

    Returns that conversation with this question alone.
    """
    while True:
        conversation = make(rng)
        turns = [turn for turn in conversation.turns if turn.family == family]
        if turns and not conversation.visuals_per_turn:
            return replace(conversation, turns=turns[:1])


def _video(rng: random.Random) -> Conversation:
    return questions.video(rng, VIDEO_FRAMES, 2)


FAMILIES: dict[str, Maker] = {
    "describe": lambda rng: one_question(lambda r: questions.single_image(r, 1), "describe", rng),
    "which": lambda rng: one_question(lambda r: questions.images(r, r.randint(2, 8), 3), "which", rng),
    "count": lambda rng: one_question(lambda r: questions.images(r, r.randint(2, 8), 3), "count", rng),
    "change": lambda rng: one_question(lambda r: questions.difference(r, 1), "change", rng),
    "first": lambda rng: one_question(_video, "first", rng),
    "last": lambda rng: one_question(_video, "last", rng),
    "motion": lambda rng: one_question(_video, "motion", rng),
    "camera": lambda rng: one_question(lambda r: questions.cameras(r, r.randint(2, 6), 1), "camera", rng),
}
