"""Papers: what a wide scene is drawn on, and pictures of nothing that the demo has a word for."""

import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from llava_interleave_serve.demo.scenes import colours
from llava_interleave_serve.demo.scenes.colours import RGB

PATTERNS = ("plain", "gradient", "texture", "stripes", "squared")
MARKS = ("text", "curves", "blobs", "crosses", "figures", "grid", "bars")
ALPHABET = "abcdefghijklmnoprstuvwyz" * 3 + "ABDEFGIKMNOPRSW0123456789.,:-()"


@dataclass(frozen=True)
class Paper:
    """A background.

    pattern: one of PATTERNS.
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
            share = _PATTERNS[self.pattern](np.random.default_rng(self.seed), width, height)[..., None]
            pixels = np.asarray(self.rgb) * (1 - share) + np.asarray(self.other) * share
            canvas = Image.fromarray(np.rint(pixels).astype(np.uint8))
        rng = random.Random(self.seed)
        for mark in self.marks:
            _MARKS[mark](rng, canvas, self)
        return canvas

    @property
    def colours(self) -> tuple[RGB, ...]:
        """The colours from which a thing has to differ."""
        if self.pattern == "plain":
            return (self.rgb,)
        middle = tuple((a + b) // 2 for a, b in zip(self.rgb, self.other, strict=True))
        return self.rgb, middle, self.other  # type: ignore[return-value]


def _gradient(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * math.pi)
    x, y = np.linspace(-1, 1, width)[None, :], np.linspace(-1, 1, height)[:, None]
    if rng.random() < 0.3:  # from the middle outwards
        return np.sqrt(x**2 + y**2) / math.sqrt(2)
    along = x * math.cos(angle) + y * math.sin(angle)
    return (along - along.min()) / (along.max() - along.min())


def _texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise of several scales, as of clouds, stone, leaves or cloth."""
    total, fall = np.zeros((height, width), np.float32), rng.uniform(0.4, 1.0)
    for octave in range(1, 7):
        grain = rng.standard_normal((2**octave, 2**octave)).astype(np.float32)
        total += fall**octave * np.asarray(Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC))
    total = (total - total.min()) / max(float(np.ptp(total)), 1e-6)
    return (total > rng.uniform(0.35, 0.65)).astype(np.float32) if rng.random() < 0.15 else total


def _stripes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    angle, period, phase = rng.uniform(0, math.pi), rng.uniform(0.04, 0.3), rng.uniform(0, 1)
    x, y = np.linspace(0, 1, width)[None, :], np.linspace(0, 1, height)[:, None]
    wave = np.sin(2 * math.pi * ((x * math.cos(angle) + y * math.sin(angle)) / period + phase))
    return (wave > 0).astype(np.float32) if rng.random() < 0.5 else (1 + wave) / 2


def _squared(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A checked cloth."""
    cell = max(4, int(min(width, height) * rng.uniform(0.04, 0.15)))
    x, y = np.arange(width)[None, :] // cell, np.arange(height)[:, None] // cell
    return ((x + y) % 2).astype(np.float32)


_PATTERNS = {"gradient": _gradient, "texture": _texture, "stripes": _stripes, "squared": _squared}


def _ink(rng: random.Random, paper: Paper) -> RGB:
    """A colour that differs from the paper; half of them grey or black."""
    while True:
        ink = colours.from_hsv(rng.uniform(0, 360), rng.choice((0.0, rng.random())), rng.random())
        if min(colours.distance(ink, colour) for colour in paper.colours) > 60:
            return ink


def _write_text(rng: random.Random, canvas: Image.Image, paper: Paper) -> None:
    """Lines of words that mean nothing."""
    pen, ink = ImageDraw.Draw(canvas), _ink(rng, paper)
    size = max(7.0, min(canvas.size) * rng.uniform(0.03, 0.2))
    font = ImageFont.load_default(size)
    left, top, bottom = (
        rng.uniform(0.0, 0.2) * canvas.width,
        rng.uniform(0.0, 0.3) * canvas.height,
        rng.uniform(0.4, 1.0),
    )
    while top < bottom * canvas.height:
        words = ["".join(rng.choices(ALPHABET, k=rng.randint(1, 9))) for _ in range(rng.randint(1, 12))]
        pen.text((left, top), " ".join(words), fill=ink, font=font)
        top += size * rng.uniform(1.1, 1.8)


def _draw_curves(rng: random.Random, canvas: Image.Image, paper: Paper) -> None:
    """Lines that wander, as of a plot or a scribble."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(1, 4)):
        ink, width = _ink(rng, paper), rng.randint(1, max(1, min(canvas.size) // 60))
        start, end, height = rng.uniform(0, 0.4), rng.uniform(0.5, 1), rng.uniform(0.1, 0.9)
        swing, waves, phase = rng.uniform(0.0, 0.3), rng.uniform(0.2, 4), rng.uniform(0, 6)
        rough = rng.choice((0.0, 0.03))
        points = [
            (
                (start + (end - start) * step / 40) * canvas.width,
                (height + swing * math.sin(phase + waves * step / 6) + rng.gauss(0, rough)) * canvas.height,
            )
            for step in range(41)
        ]
        if rng.random() < 0.3:
            points = [(y * canvas.width / canvas.height, x * canvas.height / canvas.width) for x, y in points]
        pen.line(points, fill=ink, width=width)


def _draw_blobs(rng: random.Random, canvas: Image.Image, paper: Paper) -> None:
    """Patches of colour with several unequal lobes."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(1, 5)):
        x, y, size = rng.random(), rng.random(), rng.uniform(0.06, 0.3) * min(canvas.size)
        waves = [(rng.randint(3, 6), rng.uniform(0.15, 0.35), rng.uniform(0, 6)) for _ in range(3)]
        outline = []
        for step in range(60):
            angle = 2 * math.pi * step / 60
            radius = size * (1 + sum(height * math.sin(lobes * angle + phase) for lobes, height, phase in waves))
            outline.append((x * canvas.width + radius * math.cos(angle), y * canvas.height + radius * math.sin(angle)))
        pen.polygon(outline, fill=_ink(rng, paper))


def _draw_crosses(rng: random.Random, canvas: Image.Image, paper: Paper) -> None:
    """Crosses, arrows and single strokes."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(1, 6)):
        ink, size = _ink(rng, paper), rng.uniform(0.05, 0.3) * min(canvas.size)
        x, y, turned = rng.random() * canvas.width, rng.random() * canvas.height, rng.uniform(0, math.pi)
        width = max(1, int(size * rng.uniform(0.05, 0.35)))
        for angle in [turned + part * math.pi / 2 for part in range(rng.randint(1, 2))]:
            dx, dy = size * math.cos(angle), size * math.sin(angle)
            pen.line([(x - dx, y - dy), (x + dx, y + dy)], fill=ink, width=width)


def _draw_figures(rng: random.Random, canvas: Image.Image, paper: Paper) -> None:
    """Filled figures of many colours that are none of the shapes: moons, half discs, arrows, fat crosses, zigzags."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(1, 4)):
        x, y, size = (
            rng.random() * canvas.width,
            rng.random() * canvas.height,
            rng.uniform(0.06, 0.4) * min(canvas.size),
        )
        turned, wide, thick = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.4), rng.uniform(0.2, 0.4)
        match rng.choice(("moon", "half", "arrow", "cross", "zigzag", "drop")):
            case "moon":
                inner = [(math.cos(a / 10) * 0.8 + thick, math.sin(a / 10)) for a in range(50, 13, -1)]
                spokes = [*((math.cos(a / 10), math.sin(a / 10)) for a in range(13, 51)), *inner]
            case "half":
                spokes = [(math.cos(a / 10), math.sin(a / 10)) for a in range(32)]
            case "arrow":
                spokes = [
                    (-1, -thick / 2),
                    (0.2, -thick / 2),
                    (0.2, -0.6),
                    (1, 0),
                    (0.2, 0.6),
                    (0.2, thick / 2),
                    (-1, thick / 2),
                ]
            case "cross":
                arm = [(thick, thick), (1, thick), (1, -thick)]
                spokes = [
                    (px * c - py * s, px * s + py * c) for c, s in ((1, 0), (0, -1), (-1, 0), (0, 1)) for px, py in arm
                ]
            case "zigzag":
                teeth = [(-1 + 2 * step / 5, rng.uniform(0.1, 0.9) * (-1) ** step) for step in range(6)]
                spokes = [*teeth, *((px, py + thick) for px, py in reversed(teeth))]
            case _:
                spokes = [(math.cos(a / 10) * 0.6, math.sin(a / 10) * 0.6 + 0.3) for a in range(-1, 34)] + [(0.0, -1.1)]
        ink = colours.wide_shade(rng, rng.choice(tuple(colours.REGIONS))) if rng.random() < 0.7 else _ink(rng, paper)
        cosine, sine = math.cos(turned) * size / 2, math.sin(turned) * size / 2
        pen.polygon(
            [(x + px * wide * cosine - py * sine, y + px * wide * sine + py * cosine) for px, py in spokes], fill=ink
        )


def _draw_grid(rng: random.Random, canvas: Image.Image, paper: Paper) -> None:
    """Lines at right angles, as on squared paper or in a table."""
    pen, ink = ImageDraw.Draw(canvas), _ink(rng, paper)
    width = max(1, min(canvas.size) // 150)
    for side, length in enumerate(canvas.size):
        step = max(6.0, length * rng.uniform(0.05, 0.3))
        for line in range(int(length / step) + 1):
            at = line * step
            ends = [(at, 0), (at, canvas.height)] if side == 0 else [(0, at), (canvas.width, at)]
            pen.line(ends, fill=ink, width=width)


def _draw_bars(rng: random.Random, canvas: Image.Image, paper: Paper) -> None:
    """The bars of a chart, in one grey or pale colour."""
    pen, number = ImageDraw.Draw(canvas), rng.randint(4, 14)
    grey = colours.from_hsv(rng.uniform(0, 360), rng.uniform(0, 0.15), rng.uniform(0.3, 0.75))
    base, step = canvas.height * rng.uniform(0.75, 0.95), canvas.width / number
    for bar in range(number):
        top = base * rng.uniform(0.1, 0.95)
        pen.rectangle((bar * step + step * 0.15, top, bar * step + step * 0.8, base), fill=grey)


_MARKS = {
    "text": _write_text,
    "curves": _draw_curves,
    "blobs": _draw_blobs,
    "crosses": _draw_crosses,
    "figures": _draw_figures,
    "grid": _draw_grid,
    "bars": _draw_bars,
}


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
    pattern = rng.choices(PATTERNS[1:], (35, 45, 12, 8))[0]
    return Paper(pattern, rgb, (red, green, blue), seed=rng.getrandbits(32))


def unknown_picture(rng: random.Random) -> Paper:
    """A picture of nothing that the demo has a word for: bare paper, or a pattern of any colours, often with marks."""
    marks = tuple(rng.choices(MARKS, (30, 18, 10, 10, 18, 8, 6), k=rng.choice((0, 1, 1, 1, 2))))
    pattern = rng.choices(PATTERNS, (45, 15, 25, 8, 7))[0]
    other = colours.from_hsv(rng.uniform(0, 360), rng.random(), rng.random())
    return Paper(pattern, plain_colour(rng), other, marks, rng.getrandbits(32))
