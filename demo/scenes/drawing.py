"""Scenes of coloured shapes, on which the demo checkpoint is trained and tested; each follows from its seed."""

import math
import random
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from llava_interleave_serve.demo.architecture import GRID
from llava_interleave_serve.demo.scenes.letters import LETTERS, OUTLINES

SHAPES = ("circle", "square", "triangle", "star")
FORMS = (*SHAPES, *LETTERS)
# The least and the greatest value of each RGB channel of a colour.
COLOURS = {
    "red": ((190, 255), (0, 50), (0, 50)),
    "green": ((0, 70), (125, 220), (0, 80)),
    "blue": ((0, 60), (0, 90), (170, 255)),
    "yellow": ((225, 255), (200, 240), (0, 60)),
    "purple": ((110, 160), (0, 60), (120, 200)),
    "black": ((0, 35), (0, 35), (0, 35)),
}
SUPERSAMPLING = 2
GAP = 0.03  # the least space between two things, as a share of the image's side
NOISY = 10.0  # a picture with noise of a greater standard deviation is called noisy
DARK = 185.0  # a picture with a background below this mean value is called dark
CLEAR = 0.12  # the least space between a thing's centre and its patch's border, as a share of the patch's side


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
    rgb: the fill colour, 0 to 255.
    """

    kind: Kind
    x: float
    y: float
    radius: float
    tilt: float
    rgb: tuple[int, int, int]

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


@dataclass(frozen=True)
class Scene:
    """Things on a background.

    things: drawn one over the other.
    background: RGB, 0 to 255; mostly pale.
    stretch: the aspect ratio of a thing, as if the picture had been squashed to a square.
    noise: the standard deviation of the noise that is added to each value, 0 to 255.
    """

    things: tuple[Thing, ...]
    background: tuple[int, int, int]
    stretch: float = 1.0
    noise: float = 0.0

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
        canvas = Image.new("RGB", (size * SUPERSAMPLING,) * 2, self.background)
        pen = ImageDraw.Draw(canvas)
        for thing in self.things:
            pen.polygon([(x * canvas.width, y * canvas.height) for x, y in thing.outline(self.stretch)], fill=thing.rgb)
        picture = np.asarray(canvas.reduce(SUPERSAMPLING))
        if self.noise:
            grain = np.random.default_rng(int(self.noise * 1e6)).normal(0.0, self.noise, picture.shape)
            picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
        return picture

    def patch_labels(self, grid: int) -> np.ndarray:
        """Labels each patch of the picture: int64 [grid * grid, 3].

        Column 0 is the shape and column 1 the colour of the thing under the patch's centre, from 1 (0: background);
        column 2 is 1 in the one patch that holds a thing's centre.
        """
        labels = np.zeros((grid, grid, 3), np.int64)
        centres = (np.arange(grid) + 0.5) / grid
        for thing in self.things:
            colour, shape = thing.kind.rank
            half_width, half_height = thing.radius * math.sqrt(self.stretch), thing.radius / math.sqrt(self.stretch)
            dx, dy = (centres[None, :] - thing.x) / half_width, (centres[:, None] - thing.y) / half_height
            under = dx**2 + dy**2 < 1.0
            row, column = (min(int(share * grid), grid - 1) for share in (thing.y, thing.x))
            under[row, column] = True
            labels[under, 0], labels[under, 1] = shape + 1, colour + 1
            labels[row, column, 2] = 1
        return labels.reshape(grid * grid, 3)


def shade(rng: random.Random, colour: str) -> tuple[int, int, int]:
    """Draws a random shade of the colour: RGB, 0 to 255."""
    red, green, blue = (rng.randint(low, high) for low, high in COLOURS[colour])
    return red, green, blue


def compose(rng: random.Random, kinds: list[Kind]) -> Scene:
    """Draws a scene of the given kinds, at random positions where they do not touch."""
    while True:
        things: list[Thing] = []
        for kind in kinds:
            thing = _place_thing(rng, kind, things)
            if thing is None:
                break
            things.append(thing)
        else:
            brightness = rng.randint(200, 255)
            background = tuple(min(255, max(190, brightness + rng.randint(-18, 18))) for _ in range(3))
            noise = rng.uniform(1.0, 8.0) if rng.random() < 0.25 else 0.0
            return Scene(tuple(things), background, math.exp(rng.uniform(-0.25, 0.25)), noise)  # type: ignore[arg-type]


def _place_thing(rng: random.Random, kind: Kind, others: list[Thing]) -> Thing | None:
    """Draws a thing that does not touch the others; None if 60 tries find no position."""
    for _ in range(60):
        radius = rng.uniform(0.105, 0.17)
        margin = radius * 1.05
        x, y = rng.uniform(margin, 1 - margin), rng.uniform(margin, 1 - margin)
        if any(abs(share * GRID - round(share * GRID)) < CLEAR for share in (x, y)):
            continue
        if all(math.hypot(x - other.x, y - other.y) > 1.15 * (radius + other.radius) + GAP for other in others):
            return Thing(kind, x, y, radius, rng.uniform(-0.25, 0.25), shade(rng, kind.colour))
    return None


def change(rng: random.Random, scene: Scene) -> tuple[Scene, str]:
    """Changes one thing of a scene of at least two things; returns the new scene and a sentence about the change."""
    spare = [kind for kind in KINDS if kind not in scene.kinds]
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    match rng.choice(("colour", "shape", "appear", "disappear")):
        case "colour":
            kind = rng.choice([kind for kind in spare if kind.shape == thing.kind.shape])
            new = replace(thing, kind=kind, rgb=shade(rng, kind.colour))
            return _replace_thing(scene, index, new), f"The {thing.kind} became {kind.colour}."
        case "shape":
            kind = rng.choice([kind for kind in spare if kind.colour == thing.kind.colour])
            return _replace_thing(scene, index, replace(thing, kind=kind)), f"The {thing.kind} became a {kind.shape}."
        case "appear":
            added = _place_thing(rng, rng.choice(spare), list(scene.things))
            if added is not None:
                return replace(scene, things=(*scene.things, added)), f"A {added.kind} appeared."
    return _replace_thing(scene, index, None), f"The {thing.kind} disappeared."


def _replace_thing(scene: Scene, index: int, thing: Thing | None) -> Scene:
    new = () if thing is None else (thing,)
    return replace(scene, things=scene.things[:index] + new + scene.things[index + 1 :])


DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def moving(rng: random.Random, kind: Kind, direction: str, frames: int) -> list[Scene]:
    """Draws a video of one thing that moves steadily in a direction: one scene for each frame."""
    first = compose(rng, [kind])
    thing, (dx, dy) = first.things[0], DIRECTIONS[direction]
    margin = thing.radius * 1.1
    travel = rng.uniform(0.4, 1 - 2 * margin)
    start = rng.uniform(margin, 1 - margin - travel)
    scenes = []
    for frame in range(frames):
        along = start + travel * frame / max(frames - 1, 1)
        x = thing.x if not dx else (along if dx > 0 else 1 - along)
        y = thing.y if not dy else (along if dy > 0 else 1 - along)
        scenes.append(replace(first, things=(replace(thing, x=x, y=y),)))
    return scenes


def sequence(rng: random.Random, kinds: list[Kind], frames: int) -> list[Scene]:
    """Draws a video that shows one kind after the other: one scene for each frame, at least as many as kinds."""
    cuts = [0, *sorted(rng.sample(range(1, frames), len(kinds) - 1)), frames]
    scenes: list[Scene] = []
    for kind, start, end in zip(kinds, cuts, cuts[1:], strict=False):
        scenes += [compose(rng, [kind])] * (end - start)
    return scenes
