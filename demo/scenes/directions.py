"""Conversations about camera views that ask for an action: how to turn to a thing that one of the cameras sees."""

import random

from llava_interleave_serve.demo.scenes import questions
from llava_interleave_serve.demo.scenes.composing import PLAIN, Artist
from llava_interleave_serve.demo.scenes.questions import Conversation, Turn

STEPS = {
    "CAM_FRONT": "Go straight on.",
    "CAM_FRONT_LEFT": "Turn left.",
    "CAM_FRONT_RIGHT": "Turn right.",
    "CAM_BACK": "Turn around.",
    "CAM_BACK_LEFT": "Turn back to the left.",
    "CAM_BACK_RIGHT": "Turn back to the right.",
}


def cameras(rng: random.Random, number: int, turns: int, artist: Artist = PLAIN) -> Conversation:
    """Camera views, and questions about what they see and how to face it."""
    conversation = questions.cameras(rng, number, turns, artist)
    conversation.turns = [step for turn in conversation.turns for step in _with_facing(rng, turn)]
    return conversation


def _with_facing(rng: random.Random, turn: Turn) -> list[Turn]:
    """The turn, the question how to face the thing that it names, or both; other turns as they are."""
    if turn.family != "camera":
        return [turn]
    step = Turn(f"How do I face the {turn.topic}?", STEPS[turn.answer.rstrip(".")], "face", turn.topic)
    return rng.choice(([turn], [step], [step, turn]))
