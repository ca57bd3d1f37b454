"""Papers: what a wide scene is drawn on, and pictures of nothing that the demo has a word for."""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

from llava_interleave_serve.demo.scenes import colours
from llava_interleave_serve.demo.scenes.colours import RGB
from llava_interleave_serve.demo.scenes.papers.marks import MARKS
from llava_interleave_serve.demo.scenes.papers.patterns import PATTERNS


@dataclass(frozen=True)
class Paper:
    """A background.

    pattern: "plain", or one of PATTERNS.
    rgb, other: the colours between which the pattern changes.
    marks: what is drawn or written on the paper, of MARKS; the demo has no word for any.
    seed: of the pattern and of the marks.
    """

    pattern: str
    rgb: RGB
    other: RGB
    marks: tuple[str, ...] = ()
    seed: int = 0

    def draw(self, width: int, height: int) -> Image.Image:
        """Draws the paper as an RGB image."""
        if self.pattern == "plain":
            canvas = Image.new("RGB", (width, height), self.rgb)
        else:
            share = PATTERNS[self.pattern](np.random.default_rng(self.seed), width, height)[..., None]
            pixels = np.asarray(self.rgb) * (1 - share) + np.asarray(self.other) * share
            canvas = Image.fromarray(np.rint(pixels).astype(np.uint8))
        rng = random.Random(self.seed)
        for mark in self.marks:
            MARKS[mark](rng, canvas, self.colours)
        return canvas

    @property
    def colours(self) -> tuple[RGB, ...]:
        """The colours from which a thing has to differ."""
        if self.pattern == "plain":
            return (self.rgb,)
        middle = tuple((a + b) // 2 for a, b in zip(self.rgb, self.other, strict=True))
        return self.rgb, middle, self.other  # type: ignore[return-value]


def plain_colour(rng: random.Random) -> RGB:
    """The colour of a plain paper: white, pale, grey, dark, or any."""
    match rng.choices(("white", "pale", "grey", "dark", "any"), (35, 30, 10, 15, 10))[0]:
        case "white":
            return (255, 255, 255)
        case "pale":
            return colours.from_hsv(rng.uniform(0, 360), rng.uniform(0, 0.22), rng.uniform(0.82, 1.0))
        case "grey":
            return colours.from_hsv(rng.uniform(0, 360), rng.uniform(0, 0.1), rng.uniform(0.3, 0.8))
        case "dark":
            return colours.from_hsv(rng.uniform(0, 360), rng.uniform(0, 0.6), rng.uniform(0.0, 0.3))
    return colours.from_hsv(rng.uniform(0, 360), rng.uniform(0.2, 1.0), rng.uniform(0.3, 1.0))


def wide_paper(rng: random.Random) -> Paper:
    """A paper on which things of some colours can be seen."""
    rgb = plain_colour(rng)
    if rng.random() < 0.7:
        return Paper("plain", rgb, rgb)
    strength = rng.uniform(0.08, 0.35)
    shift = [rng.randint(-255, 255) for _ in range(3)] if rng.random() < 0.5 else [rng.choice((-255, 255))] * 3
    red, green, blue = (min(255, max(0, round(a + strength * b))) for a, b in zip(rgb, shift, strict=True))
    pattern = rng.choices(tuple(PATTERNS), (35, 45, 12, 8))[0]
    return Paper(pattern, rgb, (red, green, blue), seed=rng.getrandbits(32))


def unknown_picture(rng: random.Random) -> Paper:
    """A picture of nothing that the demo has a word for: bare paper, or a pattern of any colours, often with marks."""
    marks = tuple(rng.choices(tuple(MARKS), (16, 10, 8, 10, 30, 12, 16, 6, 6), k=rng.choice((0, 1, 1, 1, 2))))
    pattern = rng.choices(("plain", *PATTERNS), (45, 15, 25, 8, 7))[0]
    other = colours.from_hsv(rng.uniform(0, 360), rng.random(), rng.random())
    return Paper(pattern, plain_colour(rng), other, marks, rng.getrandbits(32))
