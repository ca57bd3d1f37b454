"""Colours by name: narrow ranges for plain scenes, and the regions of colour space that people call by these names."""

import colorsys
import random
from collections.abc import Sequence

RGB = tuple[int, int, int]
# The least and the greatest value of each RGB channel of a colour in plain scenes.
COLOURS = {
    "red": ((190, 255), (0, 50), (0, 50)),
    "green": ((0, 70), (125, 220), (0, 80)),
    "blue": ((0, 60), (0, 90), (170, 255)),
    "yellow": ((225, 255), (200, 240), (0, 60)),
    "purple": ((110, 160), (0, 60), (120, 200)),
    "black": ((0, 35), (0, 35), (0, 35)),
}
# Hue in degrees, saturation and value of each colour in wide scenes: the least and the greatest. Between the regions
# lie colours of other names: orange, cyan, pink, brown.
REGIONS = {
    "red": ((-12, 10), (0.65, 1.0), (0.6, 1.0)),
    "green": ((85, 160), (0.4, 1.0), (0.35, 1.0)),
    "blue": ((203, 245), (0.5, 1.0), (0.45, 1.0)),
    "yellow": ((48, 62), (0.6, 1.0), (0.78, 1.0)),
    "purple": ((265, 305), (0.38, 1.0), (0.38, 0.95)),
    "black": ((0, 360), (0.0, 1.0), (0.0, 0.15)),
}


def shade(rng: random.Random, colour: str) -> RGB:
    """Draws a shade of the colour for a plain scene: RGB, 0 to 255."""
    red, green, blue = (rng.randint(low, high) for low, high in COLOURS[colour])
    return red, green, blue


def wide_shade(rng: random.Random, colour: str) -> RGB:
    """Draws a shade of the colour's whole region; every fourth is the region's purest."""
    (low_hue, high_hue), (low, high), (dark, bright) = REGIONS[colour]
    if rng.random() < 0.25:
        pure = {
            "red": 0,
            "green": rng.choice((120, 120, 100, 140)),
            "blue": 240,
            "yellow": 60,
            "purple": 300,
            "black": 0,
        }
        value = {"green": rng.choice((0.5, 1.0)), "purple": 0.5, "black": 0.0}.get(colour, 1.0)
        return from_hsv(pure[colour], 1.0, value)
    return from_hsv(rng.uniform(low_hue, high_hue), rng.uniform(low, high), rng.uniform(dark, bright))


def from_hsv(hue: float, saturation: float, value: float) -> RGB:
    """RGB, 0 to 255, of a hue in degrees, and of a saturation and a value from 0 to 1."""
    red, green, blue = (round(255 * share) for share in colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value))
    return red, green, blue


def distance(one: RGB, other: RGB) -> float:
    """How much two colours differ: Euclidean in YCbCr (ITU-R BT.601), where the chroma counts double."""
    red, green, blue = (a - b for a, b in zip(one, other, strict=True))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return float((luma**2 + 2 * (0.564 * (blue - luma)) ** 2 + 2 * (0.713 * (red - luma)) ** 2) ** 0.5)


def ink_of_figures(rng: random.Random, paper: Sequence[RGB]) -> RGB:
    """The colour of a figure without a name: mostly one that the demo knows, else any that differs from the paper."""
    known = wide_shade(rng, rng.choice(tuple(REGIONS)))
    return known if rng.random() < 0.7 else ink_on(rng, paper)


def ink_on(rng: random.Random, paper: Sequence[RGB]) -> RGB:
    """A colour that differs from the paper; half of them grey or black."""
    while True:
        ink = from_hsv(rng.uniform(0, 360), rng.choice((0.0, rng.random())), rng.random())
        if min(distance(ink, colour) for colour in paper) > 60:
            return ink
