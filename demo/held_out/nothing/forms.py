"""Forms that are no circle, square, triangle or star, as polygons."""

import math
import random

from llava_interleave_serve.demo.held_out.colours import REGIONS, RGB, shade
from llava_interleave_serve.demo.held_out.composition import differs, places
from llava_interleave_serve.demo.held_out.drawings import Paper, Point

FORMS = ("cross", "worm", "crescent", "bolt", "heart")
LEAST, MOST = 0.2, 0.7  # diameters, in shares of the longer side and of the shorter


def forms(rng: random.Random, width: int, height: int, paper: Paper) -> list[tuple[RGB, list[Point]]]:
    """Draws one to three forms in colours that the demo knows: each its colour and its corners in pixels."""
    drawn = []
    for x, y, radius in places(rng, width, height, rng.randint(1, 3), MOST, LEAST):
        shades = [shade(rng, rng.choice(tuple(REGIONS))) for _ in range(40)]
        rgb = next((each for each in shades if differs(each, paper)), (255, 0, 0))
        angle = rng.uniform(-0.4, 0.4)
        turned = (
            (px * math.cos(angle) - py * math.sin(angle), px * math.sin(angle) + py * math.cos(angle))
            for px, py in _corners(rng, rng.choice(FORMS))
        )
        drawn.append((rgb, [(x + radius * px, y + radius * py) for px, py in turned]))
    return drawn


def _corners(rng: random.Random, form: str) -> list[Point]:
    """The corners of a form in the unit circle."""
    match form:
        case "cross":
            arm = rng.uniform(0.12, 0.3)
            quarter = [(arm, -arm), (0.95, -arm), (0.95, arm)]
            return [_turned(point, turn * math.pi / 2) for turn in range(4) for point in quarter]
        case "worm":
            # A wave with thickness.
            waves, thickness = rng.uniform(1.0, 1.8), rng.uniform(0.1, 0.18)
            xs = [-0.9 + 1.8 * index / 40 for index in range(41)]
            ys = [0.4 * math.sin(waves * math.pi * x * 1.4) for x in xs]
            upper = [(x, y - thickness) for x, y in zip(xs, ys, strict=True)]
            return upper + [(x, y + thickness) for x, y in zip(reversed(xs), reversed(ys), strict=True)]
        case "crescent":
            # The arcs meet where both circles have |y| = 0.79: at 56 degrees of the one and 75 of the other.
            outer = [_on_circle(0.0, 0.95, degrees) for degrees in range(56, 305, 6)]
            inner = [_on_circle(0.32, 0.82, degrees) for degrees in range(285, 74, -6)]
            return outer + inner
        case "bolt":
            return [(0.15, -0.95), (-0.5, 0.1), (-0.05, 0.1), (-0.25, 0.95), (0.5, -0.2), (0.05, -0.2), (0.5, -0.85)]
        case _:
            return [_heart(2 * math.pi * index / 60) for index in range(60)]


def _turned(point: Point, angle: float) -> Point:
    x, y = point
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def _on_circle(centre: float, radius: float, degrees: float) -> Point:
    return centre + radius * math.cos(math.radians(degrees)), radius * math.sin(math.radians(degrees))


def _heart(t: float) -> Point:
    """A point of the heart curve of Weisstein's MathWorld, in the unit circle."""
    x = 16 * math.sin(t) ** 3
    y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return x / 18, -y / 18
