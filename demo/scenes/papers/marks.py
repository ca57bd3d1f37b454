"""Marks on papers that the demo has no word for: writing, curves, scribbles, charts."""

import math
import random
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFont

from llava_interleave_serve.demo.scenes import colours
from llava_interleave_serve.demo.scenes.colours import RGB
from llava_interleave_serve.demo.scenes.papers.figures import draw_figures

ALPHABET = "abcdefghijklmnoprstuvwyz" * 3 + "ABDEFGIKMNOPRSW0123456789.,:-()"


def write_text(rng: random.Random, canvas: Image.Image, paper: Sequence[RGB]) -> None:
    """Lines of words that mean nothing."""
    pen, ink = ImageDraw.Draw(canvas), colours.ink_on(rng, paper)
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


def draw_curves(rng: random.Random, canvas: Image.Image, paper: Sequence[RGB]) -> None:
    """Lines that wander, as of a plot or a scribble."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(1, 4)):
        ink, width = colours.ink_on(rng, paper), rng.randint(1, max(1, min(canvas.size) // 60))
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


def draw_blobs(rng: random.Random, canvas: Image.Image, paper: Sequence[RGB]) -> None:
    """Patches of colour with several unequal lobes."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(1, 5)):
        x, y, size = rng.random(), rng.random(), rng.uniform(0.06, 0.3) * min(canvas.size)
        waves = [(rng.choice((2, 3, 4, 7)), rng.uniform(0.1, 0.3), rng.uniform(0, 6)) for _ in range(3)]
        outline = []
        for step in range(60):
            angle = 2 * math.pi * step / 60
            radius = size * (1 + sum(height * math.sin(lobes * angle + phase) for lobes, height, phase in waves))
            outline.append((x * canvas.width + radius * math.cos(angle), y * canvas.height + radius * math.sin(angle)))
        pen.polygon(outline, fill=colours.ink_on(rng, paper))


def draw_crosses(rng: random.Random, canvas: Image.Image, paper: Sequence[RGB]) -> None:
    """Crosses, arrows and single strokes."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(1, 6)):
        ink, size = colours.ink_on(rng, paper), rng.uniform(0.05, 0.3) * min(canvas.size)
        x, y, turned = rng.random() * canvas.width, rng.random() * canvas.height, rng.uniform(0, math.pi)
        width = max(1, int(size * rng.uniform(0.05, 0.35)))
        for angle in [turned + part * math.pi / 2 for part in range(rng.randint(1, 2))]:
            dx, dy = size * math.cos(angle), size * math.sin(angle)
            pen.line([(x - dx, y - dy), (x + dx, y + dy)], fill=ink, width=width)


def draw_grid(rng: random.Random, canvas: Image.Image, paper: Sequence[RGB]) -> None:
    """Lines at right angles, as on squared paper or in a table."""
    pen, ink = ImageDraw.Draw(canvas), colours.ink_on(rng, paper)
    width = max(1, min(canvas.size) // 150)
    for side, length in enumerate(canvas.size):
        step = max(6.0, length * rng.uniform(0.05, 0.3))
        for line in range(int(length / step) + 1):
            at = line * step
            ends = [(at, 0), (at, canvas.height)] if side == 0 else [(0, at), (canvas.width, at)]
            pen.line(ends, fill=ink, width=width)


def draw_bars(rng: random.Random, canvas: Image.Image, paper: Sequence[RGB]) -> None:
    """The bars of a chart, in one grey or pale colour."""
    pen, number = ImageDraw.Draw(canvas), rng.randint(4, 14)
    grey = colours.from_hsv(rng.uniform(0, 360), rng.uniform(0, 0.15), rng.uniform(0.3, 0.75))
    base, step = canvas.height * rng.uniform(0.75, 0.95), canvas.width / number
    for bar in range(number):
        top = base * rng.uniform(0.1, 0.95)
        pen.rectangle((bar * step + step * 0.15, top, bar * step + step * 0.8, base), fill=grey)


def draw_scribble(rng: random.Random, canvas: Image.Image, paper: Sequence[RGB]) -> None:
    """A line or two that turn as they please, as a pen does that is tried out."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(1, 3)):
        x, y = (rng.uniform(0.15, 0.85) * side for side in canvas.size)
        heading, turn, step = (
            rng.uniform(0, 2 * math.pi),
            rng.gauss(0, 0.15),
            min(canvas.size) * rng.uniform(0.01, 0.04),
        )
        points = [(x, y)]
        for _ in range(rng.randint(30, 120)):
            turn = 0.9 * turn + rng.gauss(0, 0.12)
            heading += turn
            x = min(max(x + step * math.cos(heading), 0.0), canvas.width)
            y = min(max(y + step * math.sin(heading), 0.0), canvas.height)
            points.append((x, y))
        ink = (
            colours.ink_on(rng, paper)
            if rng.random() < 0.5
            else colours.wide_shade(rng, rng.choice(tuple(colours.REGIONS)))
        )
        pen.line(points, fill=ink, width=rng.randint(1, max(2, min(canvas.size) // 30)), joint="curve")


def draw_strokes(rng: random.Random, canvas: Image.Image, paper: Sequence[RGB]) -> None:
    """Rows of strokes side by side, as of a tally, a fence or grass; apart, or joined to a zigzag."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.randint(1, 3)):
        number, shorter = rng.randint(3, 14), min(canvas.size)
        step, height = rng.uniform(0.025, 0.1) * shorter, rng.uniform(0.06, 0.4) * shorter
        left, top = (rng.uniform(0.02, 0.7) * side for side in canvas.size)
        lean, rough = rng.gauss(0, 0.15) * height, rng.choice((0.0, rng.uniform(0.0, 0.3))) * step
        width = max(1, round(step * rng.uniform(0.1, 0.5)))
        ends = [
            (
                (left + stroke * step + rng.gauss(0, rough), top + rng.gauss(0, rough)),
                (left + stroke * step + lean + rng.gauss(0, rough), top + height + rng.gauss(0, rough)),
            )
            for stroke in range(number)
        ]
        ink = colours.ink_of_figures(rng, paper)
        if rng.random() < 0.4:
            zigzag = [pair[stroke % 2] for stroke, pair in enumerate(ends)]
            pen.line(zigzag, fill=ink, width=width, joint="curve")
            continue
        for pair in ends:
            pen.line(pair, fill=ink, width=width)


MARKS: dict[str, Callable[[random.Random, Image.Image, Sequence[RGB]], None]] = {
    "text": write_text,
    "curves": draw_curves,
    "blobs": draw_blobs,
    "crosses": draw_crosses,
    "figures": draw_figures,
    "scribble": draw_scribble,
    "strokes": draw_strokes,
    "grid": draw_grid,
    "bars": draw_bars,
}
