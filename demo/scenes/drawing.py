"""Scenes of coloured shapes, on which the demo checkpoint is trained and tested, and how they are drawn."""

import io
import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from llava_interleave_serve.demo.architecture import GRID
from llava_interleave_serve.demo.scenes.colours import COLOURS, RGB
from llava_interleave_serve.demo.scenes.letters import LETTERS, OUTLINES
from llava_interleave_serve.demo.scenes.papers.paper import Paper

SHAPES = ("circle", "square", "triangle", "star")
FORMS = (*SHAPES, *LETTERS)
SUPERSAMPLING = 2
NOISY = 10.0  # a picture with noise of a greater standard deviation is called noisy
DARK = 185.0  # a picture with a background below this mean value is called dark


@dataclass(frozen=True)
class Kind:
    """Colour and shape of a thing; the shape may be a letter."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def rank(self) -> tuple[int, int]:
        """The key of the order in which answers list things."""
        return tuple(COLOURS).index(self.colour), FORMS.index(self.shape)


KINDS = tuple(Kind(colour, shape) for colour in COLOURS for shape in SHAPES)


@dataclass(frozen=True)
class Thing:
    """One shape in a scene.

    x, y: the centre, in shares of the image's side; y points down.
    radius: in shares of the image's side.
    tilt: in radians.
    rgb: of the shape, 0 to 255.
    line: the width of its line, if it is drawn as an outline, in shares of the radius; 0: it is filled.
    border: RGB of a line around a filled shape.
    border_width: of that line, in shares of the radius.
    hatch: the distance of the strokes that fill it, in shares of the radius; 0: it is filled evenly.
    rough: how far its corners and edges stray, in shares of the radius.
    seed: of the strokes and of what is rough.
    """

    kind: Kind
    x: float
    y: float
    radius: float
    tilt: float
    rgb: RGB
    line: float = 0.0
    border: RGB = (0, 0, 0)
    border_width: float = 0.0
    hatch: float = 0.0
    rough: float = 0.0
    seed: int = 0

    def outline(self, stretch: float) -> list[tuple[float, float]]:
        """The corners of this thing, in shares of the image's side; a `stretch` above 1 makes it wider than high."""
        half_width, half_height = self.radius * math.sqrt(stretch), self.radius / math.sqrt(stretch)
        match self.kind.shape:
            case "circle":
                spokes = [(2 * math.pi * i / 40, 1.0) for i in range(40)]
            case "square":
                spokes = [(math.pi / 4 + math.pi / 2 * i, 1.12) for i in range(4)]
            case "triangle":
                spokes = [(-math.pi / 2 + 2 * math.pi / 3 * i, 1.2) for i in range(3)]
            case "star":
                spokes = [(-math.pi / 2 + math.pi / 5 * i, 0.48 if i % 2 else 1.2) for i in range(10)]
            case letter:
                spokes = [(math.atan2(y, x), math.hypot(x, y)) for x, y in OUTLINES[letter]]
        return [
            (
                self.x + half_width * length * math.cos(angle + self.tilt),
                self.y + half_height * length * math.sin(angle + self.tilt),
            )
            for angle, length in spokes
        ]

    def draw(self, canvas: Image.Image, stretch: float) -> None:
        """Draws this thing on an image."""
        pen, (width, height) = ImageDraw.Draw(canvas), canvas.size
        radius = self.radius * math.sqrt(width * height)  # in pixels
        corners = [(x * width, y * height) for x, y in self.outline(stretch)]
        if self.rough:
            corners = self._strayed(corners, radius)
        if self.hatch:
            canvas.paste(self.rgb, mask=self._strokes(canvas.size, corners, radius))
        elif not self.line:
            pen.polygon(corners, fill=self.rgb)
        line = self.line or self.border_width
        if line:
            ring = [*corners, corners[0], corners[1]]
            rgb = self.border if self.border_width else self.rgb
            pen.line(ring, fill=rgb, width=max(1, round(line * radius)), joint="curve")

    def _strayed(self, corners: list[tuple[float, float]], radius: float) -> list[tuple[float, float]]:
        """The outline as a hand draws it: points on the edges, each off its place by a little more than the last."""
        rng, points = random.Random(self.seed), []
        dx = dy = 0.0
        for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
            for step in range(4 if len(corners) < 12 else 1):
                dx, dy = (0.7 * off + rng.gauss(0, self.rough * radius) for off in (dx, dy))
                x, y = (a + (b - a) * step / 4 for a, b in zip(start, end, strict=True))
                points.append((x + dx, y + dy))
        return points

    def _strokes(self, size: tuple[int, int], corners: list[tuple[float, float]], radius: float) -> Image.Image:
        """A mask of parallel strokes inside the outline."""
        rng, mask, inside = random.Random(self.seed), Image.new("L", size), Image.new("L", size)
        ImageDraw.Draw(inside).polygon(corners, fill=255)
        pen, angle, gap = ImageDraw.Draw(mask), rng.uniform(0, math.pi), max(2.0, self.hatch * radius)
        along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
        x, y = self.x * size[0], self.y * size[1]
        reach = 2.5 * radius
        for number in range(int(-reach / gap), int(reach / gap) + 1):
            ends = []
            for end in (-reach, reach):
                off = number * gap + rng.gauss(0, 0.15 * gap)
                ends.append((x + end * along[0] + off * across[0], y + end * along[1] + off * across[1]))
            pen.line(ends, fill=255, width=max(1, round(gap * 0.6)))
        return ImageChops.multiply(mask, inside)


@dataclass(frozen=True)
class Finish:
    """How the picture of a wide scene comes about.

    paper: what it is drawn on.
    width, height: of the drawing, in pixels; the picture is scaled to the size that is asked for.
    smooth: True if edges are antialiased.
    blur: the standard deviation of a Gaussian blur, in pixels of the drawing.
    quality: of JPEG, which the drawing goes through; 0: it does not.
    """

    paper: Paper
    width: int
    height: int
    smooth: bool = True
    blur: float = 0.0
    quality: int = 0


@dataclass(frozen=True)
class Scene:
    """Things on a background.

    things: drawn one over the other.
    background: RGB, 0 to 255; mostly pale.
    stretch: the aspect ratio of a thing, as if the picture had been squashed to a square.
    noise: the standard deviation of the noise that is added to each value, 0 to 255.
    finish: of a wide scene; None for a plain one.
    """

    things: tuple[Thing, ...]
    background: RGB
    stretch: float = 1.0
    noise: float = 0.0
    finish: Finish | None = None

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of the things, in the order in which answers list them."""
        return sorted((thing.kind for thing in self.things), key=lambda kind: kind.rank)

    @property
    def is_dark(self) -> bool:
        """True if the background is darker than DARK."""
        return sum(self.background) < 3 * DARK

    @property
    def is_noisy(self) -> bool:
        """True if the noise is above NOISY."""
        return self.noise > NOISY

    def draw(self, size: int) -> np.ndarray:
        """Draws the picture: uint8 [size, size, 3], RGB."""
        if self.finish is not None:
            return np.asarray(self._finished(self.finish).resize((size, size), Image.Resampling.BICUBIC))
        canvas = Image.new("RGB", (size * SUPERSAMPLING,) * 2, self.background)
        self._draw_things(canvas)
        return self._noisy(np.asarray(canvas.reduce(SUPERSAMPLING)))

    def _draw_things(self, canvas: Image.Image) -> None:
        for thing in self.things:
            thing.draw(canvas, self.stretch)

    def _noisy(self, picture: np.ndarray) -> np.ndarray:
        if not self.noise:
            return picture
        grain = np.random.default_rng(int(self.noise * 1e6)).normal(0.0, self.noise, picture.shape)
        return np.clip(picture + grain, 0, 255).astype(np.uint8)

    def _finished(self, finish: Finish) -> Image.Image:
        """The drawing of a wide scene, of the finish's width and height."""
        scale = SUPERSAMPLING if finish.smooth and self.things else 1
        canvas = finish.paper.draw(finish.width, finish.height)
        if scale > 1:
            canvas = canvas.resize((scale * finish.width, scale * finish.height), Image.Resampling.NEAREST)
        self._draw_things(canvas)
        canvas = canvas.reduce(scale) if scale > 1 else canvas
        if finish.blur:
            canvas = canvas.filter(ImageFilter.GaussianBlur(finish.blur))
        if self.noise:
            canvas = Image.fromarray(self._noisy(np.asarray(canvas)))
        if finish.quality:
            file = io.BytesIO()
            canvas.save(file, "JPEG", quality=finish.quality)
            canvas = Image.open(file)
        return canvas.convert("RGB")

    def patch_labels(self, grid: int) -> np.ndarray:
        """Labels each patch of the picture, or each pooled one: int64 [grid * grid, 3].

        Column 0 is the shape and column 1 the colour of the thing under the patch's centre, from 1 (0: background);
        column 2 is 1 in the one patch that holds a thing's centre.
        """
        labels = np.zeros((grid, grid, 3), np.int64)
        centres = (np.arange(grid) + 0.5) / grid
        for thing in sorted(self.things, key=lambda thing: -thing.radius):
            colour, shape = thing.kind.rank
            half_width, half_height = thing.radius * math.sqrt(self.stretch), thing.radius / math.sqrt(self.stretch)
            dx, dy = (centres[None, :] - thing.x) / half_width, (centres[:, None] - thing.y) / half_height
            under = dx**2 + dy**2 < 1.0
            # Of pooled patches that which has the most of the centre's own patch.
            places = (min(max(int(share * GRID), 0), GRID - 1) for share in (thing.y, thing.x))
            row, column = (int((place + 0.5) / GRID * grid) for place in places)
            under[row, column] = True
            labels[under, 0], labels[under, 1] = shape + 1, colour + 1
            labels[row, column, 2] = 1
        return labels.reshape(grid * grid, 3)
