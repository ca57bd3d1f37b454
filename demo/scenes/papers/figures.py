"""Figures of many colours that are none of the shapes: moons, hearts, arrows, bolts."""

import math
import random
from collections.abc import Sequence

from PIL import Image, ImageDraw

from llava_interleave_serve.demo.scenes import colours
from llava_interleave_serve.demo.scenes.colours import RGB

Point = tuple[float, float]
FIGURES = ("moon", "half", "arrow", "cross", "zigzag", "drop", "heart", "bolt", "wave", "tick")


def outline(rng: random.Random, figure: str) -> list[Point]:
    """The corners of one of FIGURES, upright, within about 1 of its middle."""
    thick = rng.uniform(0.2, 0.4)
    match figure:
        case "moon":
            inner = [(math.cos(a / 10) * 0.8 + thick, math.sin(a / 10)) for a in range(50, 13, -1)]
            return [*((math.cos(a / 10), math.sin(a / 10)) for a in range(13, 51)), *inner]
        case "half":
            return [(math.cos(a / 10), math.sin(a / 10)) for a in range(32)]
        case "arrow":
            shaft, head = thick / 2, rng.uniform(0.0, 0.4)
            upper = [(-1, -shaft), (head, -shaft), (head, -0.6)]
            return [*upper, (1, 0), *((x, -y) for x, y in reversed(upper))]
        case "cross":
            arm = [(thick, thick), (1, thick), (1, -thick)]
            return [(x * c - y * s, x * s + y * c) for c, s in ((1, 0), (0, -1), (-1, 0), (0, 1)) for x, y in arm]
        case "zigzag":
            teeth = [(-1 + 2 * step / 5, rng.uniform(0.1, 0.9) * (-1) ** step) for step in range(6)]
            return [*teeth, *((x, y + thick) for x, y in reversed(teeth))]
        case "heart":
            turns = [2 * math.pi * step / 40 for step in range(40)]
            tip = rng.uniform(4.0, 6.0)
            return [
                (math.sin(a) ** 3, -(13 * math.cos(a) - tip * math.cos(2 * a) - 2 * math.cos(3 * a)) / 17)
                for a in turns
            ]
        case "bolt":
            lean = rng.uniform(0.2, 0.5)
            half = [(lean, -1), (-0.6, 0.15), (-0.1, 0.15)]
            return [*half, *((-x, -y) for x, y in half)]
        case "wave":
            tops = [(-1 + step / 10, rng.choice((0.45, 0.5)) * math.sin(step * 0.62)) for step in range(21)]
            return [*tops, *((x, y + thick) for x, y in reversed(tops))]
        case "tick":
            return [(-1, 0.1), (-0.4, 0.8), (1, -0.7), (0.8, -0.9), (-0.4, 0.8 - 1.5 * thick), (-0.8, -0.1)]
    return [(math.cos(a / 10) * 0.6, math.sin(a / 10) * 0.6 + 0.3) for a in range(-1, 34)] + [(0.0, -1.1)]


def draw_figures(rng: random.Random, canvas: Image.Image, paper: Sequence[RGB]) -> None:
    """Draws one figure or several, filled, with a border or outlined, some by an unsteady hand."""
    for _ in range(rng.randint(1, 4)):
        size = rng.uniform(0.06, 0.45) * min(canvas.size)
        middle = rng.random() * canvas.width, rng.random() * canvas.height
        turned, wide = rng.choice((0.0, rng.uniform(0, 2 * math.pi))), rng.uniform(0.6, 1.4)
        rough = rng.choice((0.0, 0.0, rng.uniform(0.0, 0.04))) * size
        cosine, sine = math.cos(turned) * size / 2, math.sin(turned) * size / 2
        corners = [
            (
                middle[0] + x * wide * cosine - y * sine + rng.gauss(0, rough),
                middle[1] + x * wide * sine + y * cosine + rng.gauss(0, rough),
            )
            for x, y in outline(rng, rng.choice(FIGURES))
        ]
        _draw(rng, ImageDraw.Draw(canvas), corners, colours.ink_of_figures(rng, paper), size)


def _draw(rng: random.Random, pen: ImageDraw.ImageDraw, corners: list[Point], ink: RGB, size: float) -> None:
    style = rng.choices(("filled", "border", "outline"), (55, 20, 25))[0]
    if style != "outline":
        pen.polygon(corners, fill=ink)
    if style != "filled":
        width = max(1, round(size * (rng.uniform(0.02, 0.05) if style == "border" else rng.uniform(0.05, 0.12))))
        line = rng.choice(((0, 0, 0), (255, 255, 255))) if style == "border" else ink
        pen.line([*corners, *corners[:2]], fill=line, width=width, joint="curve")
