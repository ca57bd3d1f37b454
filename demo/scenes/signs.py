"""Conversations about signs: a word of capital letters is read."""

import math
import random
from dataclasses import replace

from llava_interleave_serve.demo.scenes.colours import COLOURS, shade
from llava_interleave_serve.demo.scenes.composing import PLAIN
from llava_interleave_serve.demo.scenes.drawing import Kind, Scene, Thing
from llava_interleave_serve.demo.scenes.letters import LETTERS
from llava_interleave_serve.demo.scenes.questions import Conversation, Step, stepwise_turn

LENGTH = 3  # letters of a word


def sign(rng: random.Random, word: str) -> Scene:
    """Draws a word in one colour, from left to right; each letter has an equal share of the width."""
    colour, height, share = rng.choice(tuple(COLOURS)), rng.uniform(0.2, 0.8), 1 / len(word)
    things = []
    for index, letter in enumerate(word):
        x, y = share * (index + 0.5) + rng.uniform(-0.02, 0.02), height + rng.uniform(-0.03, 0.03)
        radius, tilt = rng.uniform(0.105, 0.13), rng.uniform(-0.15, 0.15)
        things.append(Thing(Kind(colour, letter), x, y, radius, tilt, shade(rng, colour)))
    return replace(PLAIN.compose(rng, []), things=tuple(things), stretch=math.exp(rng.uniform(-0.15, 0.15)))


def reading(rng: random.Random) -> Conversation:
    """A sign, and the question what it says, answered in a step for each letter."""
    word = "".join(rng.choices(LETTERS, k=LENGTH))
    pieces = [*word[:-1], f"{word[-1]}."]
    question = rng.choice(("What does the sign say?", "Read the sign.", "What is written on the sign?"))
    return Conversation(
        [sign(rng, word)], [stepwise_turn(question, [Step(piece, 0) for piece in pieces], "sign", "letters")]
    )
