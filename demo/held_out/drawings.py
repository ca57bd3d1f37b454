"""Drawings: things on a paper, as every renderer draws them."""

import math
from dataclasses import dataclass, replace

import numpy as np

from llava_interleave_serve.demo.held_out.colours import RGB, blend
from llava_interleave_serve.demo.scenes.drawing import Kind

Point = tuple[float, float]


@dataclass(frozen=True)
class Thing:
    """One shape in a drawing.

    kind: its colour and shape.
    x, y: the centre of its circumscribed circle, in pixels; y points down.
    radius: of that circle, in pixels, to the outer edge of the thing's line.
    angle: in radians.
    rgb: of the fill, or of the line if the thing is outlined.
    style: "filled", "bordered" (filled, with a line of another colour) or "outlined" (the paper is seen inside).
    line_rgb, line_width: of the line, the width in pixels; 0 if the thing is filled.
    proportion: 0 to 1, from slim to stout: a star's rays, a triangle's height.
    variant: any number, by which a renderer that has several sketches of a shape chooses one.
    """

    kind: Kind
    x: float
    y: float
    radius: float
    angle: float
    rgb: RGB
    style: str = "filled"
    line_rgb: RGB = (0, 0, 0)
    line_width: float = 0.0
    proportion: float = 0.5
    variant: int = 0

    @property
    def inner_radius(self) -> float:
        """The radius of the circumscribed circle of the line's middle."""
        return self.radius - self.line_width / 2

    def corners(self) -> list[Point]:
        """The corners along the line's middle, in pixels, clockwise; a circle has none."""
        match self.kind.shape:
            case "square":
                spokes = [(-135.0 + 90 * index, 1.0) for index in range(4)]
            case "triangle":
                apex = 46 + 28 * self.proportion  # degrees
                spokes = [(-90.0, 1.0), (90.0 - apex, 1.0), (90.0 + apex, 1.0)]
            case "star":
                dent = 0.36 + 0.12 * self.proportion
                spokes = [(-90.0 + 36 * index, dent if index % 2 else 1.0) for index in range(10)]
            case _:
                spokes = []
        turned = ((math.radians(degrees) + self.angle, length * self.inner_radius) for degrees, length in spokes)
        return [(self.x + length * math.cos(angle), self.y + length * math.sin(angle)) for angle, length in turned]


@dataclass(frozen=True)
class Paper:
    """What the things are drawn on.

    style: "plain", "gradient", "texture" or "noise"; all but plain vary between two colours.
    rgb, other: the colours.
    seed: of the texture or noise; a gradient's direction.
    """

    style: str
    rgb: RGB
    other: RGB
    seed: int = 0

    @property
    def colours(self) -> list[RGB]:
        """Some of the colours that the paper shows."""
        return [self.rgb] if self.style == "plain" else [blend(self.rgb, self.other, share) for share in (0, 0.5, 1)]

    @property
    def ramp(self) -> np.ndarray:
        """The shares of the other colour in a gradient, along or across the paper: float64 [64, 64], 0 to 1."""
        along, slope = np.linspace(0, 1, 64), self.seed // 4 % 5 / 4
        return np.rot90((along[:, None] + slope * along) / (1 + slope), self.seed % 4)


@dataclass(frozen=True)
class Drawing:
    """Things on a paper.

    width, height: in pixels.
    antialiased: False if edges have no shades.
    """

    width: int
    height: int
    paper: Paper
    things: tuple[Thing, ...]
    antialiased: bool = True

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of the things, in the order in which answers list them."""
        return sorted((thing.kind for thing in self.things), key=lambda kind: kind.rank)

    @property
    def least_diameter(self) -> float:
        """The diameter of the smallest thing, in pixels."""
        return min(2 * thing.radius for thing in self.things)

    @property
    def least_extent(self) -> float:
        """The extent of the smallest thing in the picture squeezed to a square, in shares of the square's side."""
        return self.least_diameter / max(self.width, self.height)

    def replacing(self, thing: Thing, new: Thing | None) -> "Drawing":
        """The same drawing with another thing in the place of one of its own; without it if the new is None."""
        others = (new if each is thing else each for each in self.things)
        return replace(self, things=tuple(each for each in others if each is not None))
