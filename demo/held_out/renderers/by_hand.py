"""Drawings by hand: strokes of a round brush along the lines of sketches, and a bucket that fills what they close."""

import math
from dataclasses import replace

import cv2
import numpy as np

from llava_interleave_serve.demo.held_out.colours import RGB
from llava_interleave_serve.demo.held_out.drawings import Drawing, Thing
from llava_interleave_serve.demo.held_out.hand.sketches import Stroke, hand
from llava_interleave_serve.demo.held_out.renderers.by_opencv import paper


def draw(drawing: Drawing) -> np.ndarray:
    """Draws the picture: uint8 [height, width, 3], RGB."""
    picture = paper(drawing.paper, drawing.width, drawing.height)
    for thing in drawing.things:
        _draw_thing(picture, thing, cv2.LINE_AA if drawing.antialiased else cv2.LINE_8)
    return picture


def brush(picture: np.ndarray, stroke: np.ndarray, rgb: RGB, width: int, line_type: int) -> None:
    """Draws a stroke along points [n, 2] in pixels."""
    cv2.polylines(picture, [np.rint(stroke).astype(np.int32)], False, rgb, width, line_type)


def _draw_thing(picture: np.ndarray, thing: Thing, line_type: int) -> None:
    sketches = hand().sketches[thing.kind.shape]
    sketch = sketches[thing.variant % len(sketches)]
    if thing.style == "filled":  # with a pen of the same colour
        thing = replace(thing, line_rgb=thing.rgb, line_width=sketch.width * thing.radius)
    pen = (thing.line_rgb, max(2, round(thing.line_width)), line_type)
    line = _placed(sketch.line, thing)
    if thing.style == "filled" and sketch.hatching:
        for stroke in sketch.hatching:
            brush(picture, _placed(stroke, thing), *pen)
    elif thing.style != "outlined":
        line = np.concatenate([line, line[:1]])
        picture[_inside(line, picture.shape[0], picture.shape[1])] = thing.rgb
    brush(picture, line, *pen)


def _placed(stroke: Stroke, thing: Thing) -> Stroke:
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    turned: Stroke = stroke @ np.array([[cos, sin], [-sin, cos]])
    return turned * thing.inner_radius + (thing.x, thing.y)


def _inside(line: np.ndarray, height: int, width: int) -> np.ndarray:
    """What a bucket fills that is emptied within a closed line: bool [height, width].

    line: points [n, 2] in pixels.
    """
    # The line may leave the picture, so that the sheet is wider; what is poured at its corner runs around the line.
    margin = max(height, width)
    sheet = np.zeros((height + 2 * margin, width + 2 * margin), np.uint8)
    brush(sheet, line + margin, (1, 1, 1), 1, cv2.LINE_4)
    cv2.floodFill(sheet, None, (0, 0), 2)
    inside: np.ndarray = sheet[margin : margin + height, margin : margin + width] != 2
    return inside
