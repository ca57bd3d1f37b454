"""The forty drawings by hand, and their things as sketches that other drawings take."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llava_interleave_serve.demo.held_out.drawings import Drawing, Paper, Thing
from llava_interleave_serve.demo.scenes.drawing import KINDS, Kind

FILE = Path(__file__).with_name("hand.json")
Stroke = np.ndarray  # float64 [points, 2]: x and y in units of the thing's inner radius, from its centre


@dataclass(frozen=True)
class Sketch:
    """How a hand drew one shape.

    line: the stroke around it.
    hatching: the strokes that fill it; empty if a bucket does, or if it is not filled.
    width: of the strokes, in units of the thing's radius.
    """

    line: Stroke
    hatching: tuple[Stroke, ...]
    width: float


@dataclass(frozen=True)
class Hand:
    """The set of drawings.

    drawings: a thing's `variant` is the index of its own sketch among those of its shape.
    sketches: by shape.
    """

    drawings: tuple[Drawing, ...]
    sketches: dict[str, list[Sketch]]


@functools.cache
def hand() -> Hand:
    """Reads the file of drawings."""
    kinds = {str(kind): kind for kind in KINDS}
    drawings, sketches = [], {kind.shape: list[Sketch]() for kind in KINDS}
    for record in json.loads(FILE.read_text()):
        things = []
        for each in record["things"]:
            of_shape = sketches[kinds[each["kind"]].shape]
            thing = _thing(each, kinds[each["kind"]], variant=len(of_shape))
            of_shape.append(_sketch(each, thing))
            things.append(thing)
        paper = Paper("plain", tuple(record["paper"]), tuple(record["paper"]))
        drawings.append(Drawing(record["width"], record["height"], paper, tuple(things), record["antialiased"]))
    return Hand(tuple(drawings), sketches)


def _thing(record: dict[str, Any], kind: Kind, variant: int) -> Thing:
    rgb, line_rgb = tuple(record["rgb"]), tuple(record["line_rgb"])
    style = "outlined" if record["outlined"] else "filled" if line_rgb == rgb else "bordered"
    return Thing(
        kind=kind,
        x=record["x"],
        y=record["y"],
        radius=record["radius"],
        angle=0.0,
        rgb=rgb,
        style=style,
        line_rgb=line_rgb,
        line_width=record["line_width"],
        variant=variant,
    )


def _sketch(record: dict[str, Any], thing: Thing) -> Sketch:
    strokes = (np.array(stroke, np.float64) for stroke in (record["line"], *record["hatching"]))
    line, *hatching = ((stroke - (thing.x, thing.y)) / thing.inner_radius for stroke in strokes)
    return Sketch(line, tuple(hatching), thing.line_width / thing.radius)
