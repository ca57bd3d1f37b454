"""Conversations about camera views that ask for a step: how to turn to what one of the cameras sees."""

import random

from llava_interleave_serve.demo.scenes import questions
from llava_interleave_serve.demo.scenes.questions import Conversation, Turn

STEPS = {
    "CAM_FRONT": "Go straight on.",
    "CAM_FRONT_LEFT": "Turn left.",
    "CAM_FRONT_RIGHT": "Turn right.",
    "CAM_BACK": "Turn around.",
    "CAM_BACK_LEFT": "Turn back to the left.",
    "CAM_BACK_RIGHT": "Turn back to the right.",
}


def cameras(rng: random.Random, number: int, turns: int) -> Conversation:
    """Camera views: what they see, and how to face it."""
    talk = questions.cameras(rng, number, turns)
    talk.turns = [step for turn in talk.turns for step in _faced(rng, turn)]
    return talk


def _faced(rng: random.Random, turn: Turn) -> list[Turn]:
    """The turn, the question how to face the thing that it names, or both."""
    if turn.family != "camera":
        return [turn]
    step = Turn(f"How do I face the {turn.about}?", STEPS[turn.answer.rstrip(".")], "face", turn.about)
    return rng.choice(([turn], [step], [step, turn]))
