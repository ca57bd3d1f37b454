"""Drawings by OpenCV: its circles, polygons and lines over papers that it resizes and blurs."""

import cv2
import numpy as np

from llava_interleave_serve.demo.held_out.drawings import Drawing, Paper, Point, Thing

SHIFT = 4  # binary places of a coordinate after the point


def draw(drawing: Drawing) -> np.ndarray:
    """Draws the picture: uint8 [height, width, 3], RGB."""
    picture = paper(drawing.paper, drawing.width, drawing.height)
    for thing in drawing.things:
        _draw_thing(picture, thing, cv2.LINE_AA if drawing.antialiased else cv2.LINE_8)
    return picture


def paper(paper: Paper, width: int, height: int) -> np.ndarray:
    """Draws a paper: uint8 [height, width, 3], RGB."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = paper.rgb
    if paper.style == "plain":
        return picture
    generator = np.random.default_rng(paper.seed)
    match paper.style:
        case "gradient":
            shares = cv2.resize(np.float32(paper.ramp), (width, height), interpolation=cv2.INTER_LINEAR)
        case "texture":
            # Fibres: noise that is blurred in one direction.
            grain = generator.random((height, width)).astype(np.float32)
            length = max(3, min(width, height) // 8)
            kernel = (length, 1) if paper.seed % 2 else (1, length)
            shares = cv2.normalize(cv2.blur(grain, kernel), None, 0, 1, cv2.NORM_MINMAX)
        case _:
            shares = generator.random((height, width)).astype(np.float32)
    first, second = np.array(paper.rgb, np.float32), np.array(paper.other, np.float32)
    picture[:] = np.rint(first + (second - first) * shares[..., None])
    return picture


def _draw_thing(picture: np.ndarray, thing: Thing, line_type: int) -> None:
    width = max(1, round(thing.line_width))
    if thing.kind.shape == "circle":
        (centre,), radius = _fixed([(thing.x, thing.y)]), round(thing.inner_radius * 2**SHIFT)
        if thing.style != "outlined":
            cv2.circle(picture, centre, radius, thing.rgb, cv2.FILLED, line_type, SHIFT)
        if thing.style != "filled":
            cv2.circle(picture, centre, radius, thing.line_rgb, width, line_type, SHIFT)
        return
    corners = np.array(_fixed(thing.corners()), np.int32)
    if thing.style != "outlined":
        cv2.fillPoly(picture, [corners], thing.rgb, line_type, SHIFT)
    if thing.style != "filled":
        cv2.polylines(picture, [corners], True, thing.line_rgb, width, line_type, SHIFT)


def _fixed(points: list[Point]) -> list[tuple[int, int]]:
    return [(round(x * 2**SHIFT), round(y * 2**SHIFT)) for x, y in points]
