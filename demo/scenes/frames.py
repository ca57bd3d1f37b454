"""Frames of videos: a scene for each, in which one thing moves, or several are shown one after the other."""

import math
import random
from dataclasses import replace

from llava_interleave_serve.demo.scenes.composing import PLAIN, Artist
from llava_interleave_serve.demo.scenes.drawing import Kind, Scene

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
WIDEST_MOVER = 0.25  # half the width or height of a thing that moves, at most, as a share of the picture's


def moving(rng: random.Random, kind: Kind, direction: str, frames: int, artist: Artist = PLAIN) -> list[Scene]:
    """Draws a video of one thing that moves steadily in a direction: one scene for each frame."""
    dx, dy = DIRECTIONS[direction]
    while True:
        first = artist.compose(rng, [kind])
        thing = first.things[0]
        # A plain thing's margin is that of its radius, as it always was.
        half = 1.0 if first.finish is None else math.sqrt(first.stretch if dx else 1 / first.stretch)
        margin = thing.radius * half * 1.1
        if margin < WIDEST_MOVER:
            break
    travel = rng.uniform(0.4, 1 - 2 * margin)
    start = rng.uniform(margin, 1 - margin - travel)
    scenes = []
    for frame in range(frames):
        along = start + travel * frame / max(frames - 1, 1)
        x = thing.x if not dx else (along if dx > 0 else 1 - along)
        y = thing.y if not dy else (along if dy > 0 else 1 - along)
        scenes.append(replace(first, things=(replace(thing, x=x, y=y),)))
    return scenes


def sequence(rng: random.Random, shown: list[list[Kind]], frames: int, artist: Artist = PLAIN) -> list[Scene]:
    """Draws a video that shows one picture after the other: one scene for each frame.

    shown: the kinds in each picture; at most `frames` of them.
    """
    cuts = [0, *sorted(rng.sample(range(1, frames), len(shown) - 1)), frames]
    scenes: list[Scene] = []
    for kinds, start, end in zip(shown, cuts, cuts[1:], strict=False):
        scenes += [artist.compose(rng, kinds)] * (end - start)
    return scenes
