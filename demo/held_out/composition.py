"""Composition of drawings: sizes, papers, places and styles that leave no doubt about what is drawn."""

import colorsys
import math
import random
from collections.abc import Sequence
from dataclasses import replace

from llava_interleave_serve.demo.held_out.colours import RGB, blend, clearly_differ, shade
from llava_interleave_serve.demo.held_out.drawings import Drawing, Paper, Thing
from llava_interleave_serve.demo.scenes.drawing import Kind

LEAST_SIDE, GREATEST_SIDE = 96, 1024  # pixels
MOST_ASPECT = 3.0
# The least diameter is a share of the longer side, the greatest one of the shorter. In small pictures the bound in
# pixels holds: on fewer nobody tells a star from a triangle. With a line a thing needs more.
LEAST_DIAMETER, GREATEST_DIAMETER = 1 / 20, 9 / 10
LEAST_PIXELS, LEAST_PIXELS_WITH_LINE = 14, 28
CENTRES_APART = 1 / 5  # in shares of the picture's width and height
GAP = 0.02  # of the shorter side
MOST_CUT = 1 / 10  # of the diameter
MOST_ANGLE = 0.26  # radians
SPECIAL_PAPERS = 1 / 4


def size(rng: random.Random) -> tuple[int, int]:
    """Draws a picture's width and height in pixels."""
    aspect = math.exp(rng.uniform(-math.log(MOST_ASPECT), math.log(MOST_ASPECT)))
    longest = max(aspect, 1 / aspect)
    shorter = math.exp(rng.uniform(math.log(LEAST_SIDE), math.log(GREATEST_SIDE / longest)))
    width, height = (shorter * aspect, shorter) if aspect > 1 else (shorter, shorter / aspect)
    return round(width), round(height)


def paper(rng: random.Random) -> Paper:
    """Draws a paper: white, grey, pale or dark, plain in three of four."""
    rgb = _paper_colour(rng)
    if rng.random() >= SPECIAL_PAPERS:
        return Paper("plain", rgb, rgb)
    style = rng.choice(("gradient", "texture", "noise"))
    other = _paper_colour(rng)
    if style != "gradient":
        other = blend(rgb, other, rng.uniform(0.15, 0.5))
    return Paper(style, rgb, other, rng.randrange(1000))


def _paper_colour(rng: random.Random) -> RGB:
    match rng.choice(("white", "white", "pale", "pale", "grey", "dark")):
        case "white":
            return (255, 255, 255)
        case "pale":
            saturation, value = rng.uniform(0, 0.18), rng.uniform(0.86, 1)
        case "grey":
            saturation, value = 0.0, rng.uniform(0.2, 0.9)
        case _:
            saturation, value = rng.uniform(0, 0.3), rng.uniform(0, 0.22)
    red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(rng.random(), saturation, value))
    return red, green, blue


def differs(rgb: RGB, paper: Paper) -> bool:
    """True if the colour is clearly seen on every part of the paper."""
    return all(clearly_differ(rgb, other) for other in paper.colours)


def places(
    rng: random.Random,
    width: int,
    height: int,
    number: int,
    most: float = GREATEST_DIAMETER,
    least: float = LEAST_DIAMETER,
) -> list[tuple[float, float, float]]:
    """Draws centres and radii of circles that do not touch, in pixels.

    Diameters are uniform between `least` of the longer side and `most` of the shorter one, so far as they fit: `most`
    shrinks with each attempt that does not.
    """
    smallest, bound = max(least * max(width, height), LEAST_PIXELS), most * min(width, height)
    while True:
        radii = sorted((rng.uniform(smallest, max(smallest, bound)) / 2 for _ in range(number)), reverse=True)
        found: list[tuple[float, float, float]] = []
        for radius in radii:
            place = _place(rng, width, height, radius, found)
            if place is None:
                break
            found.append(place)
        else:
            rng.shuffle(found)
            return found
        bound = max(0.97 * bound, 1.2 * smallest)


def _place(
    rng: random.Random, width: int, height: int, radius: float, others: Sequence[tuple[float, float, float]]
) -> tuple[float, float, float] | None:
    """Draws a centre for a circle; None if 60 attempts find no room."""
    inset = radius * (1 - 2 * MOST_CUT) if 2 * radius >= LEAST_PIXELS_WITH_LINE else radius
    gap = max(GAP * min(width, height), 3)
    for _ in range(60):
        x, y = rng.uniform(inset, width - inset), rng.uniform(inset, height - inset)
        if all(
            math.hypot(x - other_x, y - other_y) >= radius + other_radius + gap
            and math.hypot((x - other_x) / width, (y - other_y) / height) >= CENTRES_APART
            for other_x, other_y, other_radius in others
        ):
            return x, y, radius
    return None


def thing(rng: random.Random, kind: Kind, place: tuple[float, float, float], paper: Paper) -> Thing | None:
    """Draws a thing of the kind; None if its colour cannot be told from the paper."""
    rgb = _visible_shade(rng, kind.colour, paper)
    if rgb is None:
        return None
    x, y, radius = place
    plain = Thing(
        kind, x, y, radius, rng.uniform(-MOST_ANGLE, MOST_ANGLE), rgb,
        proportion=rng.random(), variant=rng.randrange(1000),
    )  # fmt: skip
    style = rng.choice(("filled", "filled", "bordered", "outlined"))
    if style == "filled" or 2 * radius < LEAST_PIXELS_WITH_LINE:
        return plain
    if style == "outlined":
        return replace(plain, style=style, line_rgb=rgb, line_width=radius * rng.uniform(1 / 6, 0.3))
    line = rng.choice((blend(rgb, (0, 0, 0), rng.uniform(0.4, 0.8)), (0, 0, 0), (128, 128, 128), (255, 255, 255)))
    return replace(plain, style=style, line_rgb=line, line_width=max(radius * rng.uniform(0.04, 0.1), 1))


def recoloured(rng: random.Random, thing: Thing, kind: Kind, paper: Paper) -> Thing | None:
    """The thing in a shade of another kind's colour; None if that cannot be told from the paper."""
    rgb = _visible_shade(rng, kind.colour, paper)
    if rgb is None:
        return None
    return replace(thing, kind=kind, rgb=rgb, line_rgb=rgb if thing.style == "outlined" else thing.line_rgb)


def _visible_shade(rng: random.Random, colour: str, paper: Paper) -> RGB | None:
    shades = (shade(rng, colour) for _ in range(20))
    return next((each for each in shades if differs(each, paper)), None)


def compose(
    rng: random.Random,
    kinds: Sequence[Kind],
    frame: tuple[int, int] | None = None,
    most: float = GREATEST_DIAMETER,
    least: float = LEAST_DIAMETER,
) -> Drawing:
    """Composes a drawing of the kinds, on a paper on which all of them are clearly seen.

    frame: width and height in pixels; drawn if None.
    most, least: diameters, in shares of the shorter side and of the longer.
    """
    width, height = frame or size(rng)
    while True:
        chosen = paper(rng)
        found = [
            thing(rng, kind, place, chosen)
            for kind, place in zip(kinds, places(rng, width, height, len(kinds), most, least), strict=True)
        ]
        things = tuple(each for each in found if each is not None)
        if len(things) == len(kinds):
            return Drawing(width, height, chosen, things, antialiased=rng.random() < 0.7)
