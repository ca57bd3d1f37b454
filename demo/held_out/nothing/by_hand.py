"""Pictures by hand that show nothing which the demo knows: scribbles."""

import math
import random

import cv2
import numpy as np

from llava_interleave_serve.demo.held_out import composition
from llava_interleave_serve.demo.held_out.colours import REGIONS, shade
from llava_interleave_serve.demo.held_out.drawings import Point
from llava_interleave_serve.demo.held_out.renderers.by_hand import brush
from llava_interleave_serve.demo.held_out.renderers.by_opencv import paper

SUBJECTS = ("blank", "waves", "zigzags", "tallies", "grass", "wandering")
POINTS = 40


def draw(rng: random.Random, width: int, height: int) -> np.ndarray:
    """Draws a picture of one of SUBJECTS: uint8 [height, width, 3], RGB."""
    chosen, subject = composition.paper(rng), rng.choice(SUBJECTS)
    picture = paper(chosen, width, height)
    if subject == "blank":
        return picture
    line_type, thickness = rng.choice((cv2.LINE_8, cv2.LINE_AA)), rng.uniform(0.008, 0.03) * min(width, height)
    for _ in range(rng.randint(1, 3)):
        shades = [shade(rng, rng.choice(tuple(REGIONS))) for _ in range(40)]
        rgb = next((each for each in shades if composition.differs(each, chosen)), (255, 0, 0))
        for stroke in _strokes(rng, subject):
            points = np.array([(x * width, y * height) for x, y in stroke])
            points += np.random.default_rng(rng.randrange(2**32)).normal(0, 0.004 * min(width, height), points.shape)
            brush(picture, points, rgb, max(1, round(thickness)), line_type)
    return picture


def _strokes(rng: random.Random, subject: str) -> list[list[Point]]:
    """The strokes of a scribble, in shares of the picture's width and height."""
    top, left, right = rng.uniform(0.15, 0.85), rng.uniform(0.02, 0.3), rng.uniform(0.7, 0.98)
    across = [left + (right - left) * index / POINTS for index in range(POINTS + 1)]
    match subject:
        case "waves":
            waves, height = rng.uniform(2, 6), rng.uniform(0.04, 0.12)
            return [[(x, top + height * math.sin(2 * math.pi * waves * x)) for x in across]]
        case "zigzags":
            height = rng.uniform(0.04, 0.12)
            return [[(x, top + height * (index % 2)) for index, x in enumerate(across[::3])]]
        case "tallies":
            height = rng.uniform(0.08, 0.15)
            return [[(x, top - height), (x + 0.01, top + height)] for x in across[:: rng.randint(3, 6)]]
        case "grass":
            return [[(x, 1.0), (x + rng.gauss(0, 0.03), rng.uniform(0.6, 0.9))] for x in across]
        case _:
            ys = [top]
            for _ in across[1:]:
                ys.append(ys[-1] + rng.gauss(0, 0.03))
            return [list(zip(across, ys, strict=True))]
