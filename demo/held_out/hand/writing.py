"""Writes hand.json anew: forty drawings as a hand with a mouse makes them.

`python -m llava_interleave_serve.demo.held_out.hand.writing` wrote the file that is kept. A hand's line is the shape's
line, bent at random: corners miss their places and are rounded, sides bow, a circle is dented, the line's end misses
its beginning, and the positions are whole pixels, now nearer and now further apart.
"""

import itertools
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from llava_interleave_serve.demo.held_out.composition import places, thing
from llava_interleave_serve.demo.held_out.drawings import Paper, Point, Thing
from llava_interleave_serve.demo.scenes.drawing import KINDS

FILE = Path(__file__).with_name("hand.json")
DRAWINGS = 40
MOST_THINGS = 4
DIAMETERS = (0.7, 0.12)  # most, in shares of the shorter side, and least, of the longer
CANVASES = ((320, 240), (400, 300), (640, 480), (512, 512), (800, 600), (300, 400), (480, 640), (900, 320), (240, 560))
PAPERS = (
    (255, 255, 255),
    (255, 255, 255),
    (255, 255, 255),
    (250, 244, 225),
    (225, 238, 250),
    (195, 195, 195),
    (30, 30, 30),
)
FILLS = ("bucket", "bucket", "hatching", "outlined", "outlined", "bordered")
STEPS = 24  # of a side, before the hand's positions are chosen from them
PENTAGRAMS = 1 / 6  # of the outlined stars


def line_of(rng: random.Random, shape: str, thing: Thing) -> list[Point]:
    """A line around the thing as a hand draws it, in units of its radius; the ends need not meet."""
    if shape == "circle":
        return _dented_circle(rng)
    corners = replace(thing, x=0.0, y=0.0, radius=1.0, line_width=0.0).corners()
    if shape == "pentagram":
        corners = corners[0::4] + corners[2::4]
    corners = [(x + rng.gauss(0, 0.035), y + rng.gauss(0, 0.035)) for x, y in corners]
    first = rng.randrange(len(corners))
    corners = corners[first:] + corners[:first]
    corners.append((corners[0][0] + rng.gauss(0, 0.03), corners[0][1] + rng.gauss(0, 0.03)))
    points = []
    for (x, y), (next_x, next_y) in itertools.pairwise(corners):
        bow, dx, dy = rng.gauss(0, 0.025), next_x - x, next_y - y
        for share in (step / STEPS for step in range(STEPS)):
            bend = bow * 4 * share * (1 - share)
            points.append((x + dx * share - dy * bend, y + dy * share + dx * bend))
    return _rounded([*points, corners[-1]], rng.randint(1, 3))


def _dented_circle(rng: random.Random) -> list[Point]:
    dents = [(k, rng.gauss(0, 0.05 / k), rng.uniform(0, 2 * math.pi)) for k in (2, 3, 4)]
    start, drift = rng.uniform(0, 2 * math.pi), rng.gauss(0, 0.03)
    flatness, tilt = rng.uniform(0.9, 1.0), rng.uniform(0, math.pi)
    points = []
    for share in (step / (5 * STEPS) for step in range(5 * STEPS + 1)):
        angle = start + 2 * math.pi * share
        radius = 0.95 + sum(depth * math.cos(k * angle + phase) for k, depth, phase in dents) + drift * (share - 0.5)
        points.append(_turned((radius * math.cos(angle), flatness * radius * math.sin(angle)), tilt))
    return points


def _rounded(points: list[Point], reach: int) -> list[Point]:
    """Averages each point with `reach` neighbours on both sides."""
    rounded = []
    for index in range(len(points)):
        near = points[max(0, index - reach) : index + reach + 1]
        rounded.append((sum(x for x, _ in near) / len(near), sum(y for _, y in near) / len(near)))
    return rounded


def hatching(rng: random.Random, line: list[Point], spacing: float) -> list[list[Point]]:
    """Strokes to and fro across the area within a closed line; all in units of the thing's radius."""
    tilt = rng.uniform(-0.9, 0.9)
    turned = [_turned(point, -tilt) for point in line]
    strokes: list[list[Point]] = []
    stroke: list[Point] = []
    level, highest = min(y for _, y in turned) + spacing / 2, max(y for _, y in turned)
    while level < highest:
        ends = [(x + rng.gauss(0, 0.02), level + rng.gauss(0, spacing / 8)) for x in _crossings(turned, level)]
        if len(ends) == 2:
            stroke += ends if len(stroke) % 4 == 0 else ends[::-1]
        else:  # between the rays of a star the hand lifts the pen
            strokes += [stroke, *([left, right] for left, right in zip(ends[::2], ends[1::2], strict=True))]
            stroke = []
        level += spacing
    return [[_turned(point, tilt) for point in each] for each in [*strokes, stroke] if each]


def _crossings(line: list[Point], level: float) -> list[float]:
    """Where a closed line has the height: an even number of places, from left to right."""
    sides = zip(line, [*line[1:], line[0]], strict=True)
    return sorted(
        x + (next_x - x) * (level - y) / (next_y - y)
        for (x, y), (next_x, next_y) in sides
        if (y < level) != (next_y < level)
    )


def _turned(point: Point, angle: float) -> Point:
    x, y = point
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def _positions(points: list[Point], thing: Thing) -> list[list[int]]:
    """The mouse's positions at the points: whole pixels."""
    return [[round(thing.x + thing.inner_radius * x), round(thing.y + thing.inner_radius * y)] for x, y in points]


def _some(rng: random.Random, points: list[Point]) -> list[Point]:
    """Every second to fifth of the points, and the last."""
    chosen, index = [], 0
    while index < len(points) - 1:
        chosen.append(points[index])
        index += rng.randint(2, 5)
    return [*chosen, points[-1]]


def drawn_thing(rng: random.Random, thing: Thing) -> dict[str, Any]:
    """A thing as the file has it."""
    fill = rng.choice(FILLS) if thing.radius > 20 else "bucket"
    pentagram = (thing.kind.shape, fill) == ("star", "outlined") and rng.random() < PENTAGRAMS
    share = rng.uniform(0.18, 0.28) if fill == "outlined" else rng.uniform(0.05, 0.12)
    x, y, radius = (round(value) for value in (thing.x, thing.y, thing.radius))
    thing = replace(thing, x=x, y=y, radius=radius, line_width=round(max(2, radius * share)))
    line = line_of(rng, "pentagram" if pentagram else thing.kind.shape, thing)
    strokes = hatching(rng, line, 1.6 * thing.line_width / radius) if fill == "hatching" else []
    return {
        "kind": str(thing.kind),
        "x": x,
        "y": y,
        "radius": radius,
        "rgb": thing.rgb,
        "line_rgb": (0, 0, 0) if fill == "bordered" and thing.kind.colour != "black" else thing.rgb,
        "line_width": thing.line_width,
        "outlined": fill == "outlined",
        "line": _positions(_some(rng, line), thing),
        "hatching": [_positions(stroke, thing) for stroke in strokes],
    }


def drawing(number: int) -> dict[str, Any]:
    """A drawing as the file has it."""
    rng = random.Random(f"hand {number}")
    width, height = rng.choice(CANVASES)
    rgb = rng.choice(PAPERS)
    paper = Paper("plain", rgb, rgb)
    kinds = rng.sample(KINDS, len(KINDS))
    things = []
    for place in places(rng, width, height, rng.randint(1, MOST_THINGS), *DIAMETERS):
        seen = (thing(rng, kinds.pop(), place, paper) for _ in range(len(kinds)))
        things.append(next(each for each in seen if each is not None))
    return {
        "width": width, "height": height, "paper": rgb, "antialiased": rng.random() < 0.5,
        "things": [drawn_thing(rng, each) for each in things],
    }  # fmt: skip


def main() -> None:
    lines = ",\n".join(json.dumps(drawing(number), separators=(",", ":")) for number in range(DRAWINGS))
    FILE.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
