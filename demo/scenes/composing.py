"""Composition of scenes: where things are put, of which size and style; each scene follows from its random generator.

`PLAIN` composes what the accuracy of the first checkpoints was measured on: few things of about one size, filled, on
pale paper. `WIDE` composes what people draw: see `WideArtist`.
"""

import math
import random
from dataclasses import replace
from typing import Protocol

from llava_interleave_serve.demo.scenes import colours
from llava_interleave_serve.demo.scenes.colours import RGB, shade
from llava_interleave_serve.demo.scenes.drawing import KINDS, Finish, Kind, Scene, Thing
from llava_interleave_serve.demo.scenes.papers import paper as papers

GAP = 0.03  # the least space between two things, as a share of the image's side
CELLS = 7  # of a side of the grid from whose borders the centres of plain things keep away
CLEAR = 0.12  # the least space between a plain thing's centre and its cell's border, as a share of the cell's side


class Artist(Protocol):
    """Composes scenes in one manner.

    most_alone: the greatest number of things in a picture that stands alone.
    most_of_several: that in each of four pictures or more, and in each camera's view.
    least_before_change: the least number of things in a picture of which one changes.
    """

    most_alone: int
    most_of_several: int
    least_before_change: int

    def compose(self, rng: random.Random, kinds: list[Kind]) -> Scene:
        """A scene of the given kinds, at random positions where they do not touch."""

    def add(self, rng: random.Random, scene: Scene, kind: Kind) -> Scene | None:
        """The scene with one thing more; None if no place was found for it."""

    def repaint(self, rng: random.Random, scene: Scene, thing: Thing, kind: Kind) -> Thing | None:
        """A thing of the scene as another kind, in a new shade; None if its colour cannot be seen on this paper."""

    def numbers(self, most: int) -> tuple[int, ...]:
        """The numbers of things in a picture, up to `most`, of which one is drawn; as often as they are to be drawn."""


class PlainArtist:
    """Things of a fifth to a third of the side, filled, away from borders of cells; pale paper, little noise."""

    most_alone, most_of_several, least_before_change = 3, 2, 2

    def compose(self, rng: random.Random, kinds: list[Kind]) -> Scene:
        while True:
            things: list[Thing] = []
            for kind in kinds:
                thing = self._place(rng, kind, things)
                if thing is None:
                    break
                things.append(thing)
            else:
                brightness = rng.randint(200, 255)
                background = tuple(min(255, max(190, brightness + rng.randint(-18, 18))) for _ in range(3))
                noise = rng.uniform(1.0, 8.0) if rng.random() < 0.25 else 0.0
                return Scene(tuple(things), background, math.exp(rng.uniform(-0.25, 0.25)), noise)  # type: ignore[arg-type]

    def add(self, rng: random.Random, scene: Scene, kind: Kind) -> Scene | None:
        added = self._place(rng, kind, list(scene.things))
        return None if added is None else replace(scene, things=(*scene.things, added))

    def repaint(self, rng: random.Random, scene: Scene, thing: Thing, kind: Kind) -> Thing:
        return replace(thing, kind=kind, rgb=shade(rng, kind.colour))

    def numbers(self, most: int) -> tuple[int, ...]:
        return tuple(range(1, most + 1))

    def _place(self, rng: random.Random, kind: Kind, others: list[Thing]) -> Thing | None:
        """Draws a thing that does not touch the others; None if 60 tries find no position."""
        for _ in range(60):
            radius = rng.uniform(0.105, 0.17)
            margin = radius * 1.05
            x, y = rng.uniform(margin, 1 - margin), rng.uniform(margin, 1 - margin)
            if any(abs(share * CELLS - round(share * CELLS)) < CLEAR for share in (x, y)):
                continue
            if all(math.hypot(x - other.x, y - other.y) > 1.15 * (radius + other.radius) + GAP for other in others):
                return Thing(kind, x, y, radius, rng.uniform(-0.25, 0.25), shade(rng, kind.colour))
        return None


class WideArtist:
    """Things from a twentieth of the picture's longer side to nine tenths of the shorter, touching the border too.

    Filled, filled with a border, or outlined; on papers of any colour from which the things differ; pictures of an
    aspect ratio from 1:3 to 3:1, sharp or blurred, with noise, after JPEG of a quality from 30 on.
    """

    # The greatest diameter of a thing by the number of things, as a share of the shorter side.
    GREATEST = (0.9, 0.55, 0.48, 0.42, 0.36, 0.32, 0.29, 0.27, 0.25, 0.23, 0.21, 0.2)
    LEAST, LEAST_PIXELS = 0.05, 10  # the least diameter, as a share of the longer side and in pixels
    DIFFERENCE = 85.0  # the least distance of a thing's colour from the paper's colours
    # Of the things of so large a radius, in pixels, a share lies at the border, which cuts up to a part of the radius.
    AT_BORDER, AT_BORDER_PIXELS, CUT = 0.3, 12, 0.2
    most_of_several, least_before_change = 3, 1

    def __init__(self, most_alone: int, apart: float) -> None:
        """apart: the least distance of two centres, in shares of the picture's width and height."""
        self.most_alone, self.apart = most_alone, apart

    def compose(self, rng: random.Random, kinds: list[Kind]) -> Scene:
        while True:
            paper, shades = self._paper(rng, kinds)
            width, height = self._size(rng)
            things = self._place_all(rng, kinds, shades, (width, height))
            if things is not None:
                return self._finish(rng, Scene(tuple(things), paper.rgb, height / width), paper, (width, height))

    def add(self, rng: random.Random, scene: Scene, kind: Kind) -> Scene | None:
        rgb = self._shade(rng, scene.finish.paper, kind) if scene.finish else None
        if scene.finish is None or rgb is None:
            return None
        size = scene.finish.width, scene.finish.height
        for _ in range(60):
            diameter = rng.uniform(self._least(size), 0.4)
            added = self._place(rng, kind, rgb, diameter, list(scene.things), size)
            if added is not None:
                return replace(scene, things=(*scene.things, added))
        return None

    def repaint(self, rng: random.Random, scene: Scene, thing: Thing, kind: Kind) -> Thing | None:
        rgb = self._shade(rng, scene.finish.paper, kind) if scene.finish else None
        return None if rgb is None else replace(thing, kind=kind, rgb=rgb)

    def numbers(self, most: int) -> tuple[int, ...]:
        return (0,) * most + tuple(range(1, most + 1)) * 4

    def _paper(self, rng: random.Random, kinds: list[Kind]) -> tuple[papers.Paper, list[RGB]]:
        """A paper, and a shade of each kind that differs from it."""
        while True:
            paper = papers.wide_paper(rng) if kinds else papers.unknown_picture(rng)
            shades = [self._shade(rng, paper, kind) for kind in kinds]
            if all(rgb is not None for rgb in shades):
                return paper, [rgb for rgb in shades if rgb is not None]

    def _shade(self, rng: random.Random, paper: papers.Paper, kind: Kind) -> RGB | None:
        """A shade that differs from the paper's colours; None if four tries find none."""
        for _ in range(4):
            rgb = colours.wide_shade(rng, kind.colour)
            if min(colours.distance(rgb, other) for other in paper.colours) > self.DIFFERENCE:
                return rgb
        return None

    def _size(self, rng: random.Random) -> tuple[int, int]:
        """Width and height of a drawing, in pixels."""
        widest = 3.0 if rng.random() < 0.35 else 1.6
        aspect = math.exp(rng.uniform(-1, 1) * math.log(widest))
        shorter = int(math.exp(rng.uniform(math.log(96), math.log(320))))
        return (int(shorter * aspect), shorter) if aspect > 1 else (shorter, int(shorter / aspect))

    def _place_all(
        self, rng: random.Random, kinds: list[Kind], shades: list[RGB], size: tuple[int, int]
    ) -> list[Thing] | None:
        """Places the things, the greatest first; None if there is no room for one."""
        greatest = self.GREATEST[max(len(kinds) - 1, 0)]
        least = self._least(size)
        middle = math.sqrt(least * greatest)  # half of the things are smaller
        ranges = (rng.choice(((least, middle), (least, greatest))) for _ in kinds)
        diameters = sorted((rng.uniform(*of_thing) for of_thing in ranges), reverse=True)
        things: list[Thing] = []
        for kind, rgb, diameter in zip(kinds, shades, diameters, strict=True):
            for shrunk in range(30):
                thing = self._place(rng, kind, rgb, max(least, diameter * 0.97**shrunk), things, size)
                if thing is not None:
                    things.append(thing)
                    break
            else:
                return None
        return things

    def _least(self, size: tuple[int, int]) -> float:
        """The least diameter in a picture of this size in pixels, as a share of its shorter side."""
        return max(self.LEAST * max(size), self.LEAST_PIXELS) / min(size)

    def _place(
        self,
        rng: random.Random,
        kind: Kind,
        rgb: RGB,
        diameter: float,
        others: list[Thing],
        size: tuple[int, int],
    ) -> Thing | None:
        """Puts a thing at a random place; None if others are in its way.

        diameter: in shares of the shorter side. size: of the drawing in pixels.
        """
        width, height = size
        shorter = min(size)
        radius = diameter / 2 * shorter
        x, y = (radius + rng.random() * max(0.0, side - 2 * radius) for side in size)
        if radius > self.AT_BORDER_PIXELS and rng.random() < self.AT_BORDER:
            inset = radius * rng.uniform(1 - self.CUT, 1)
            x, y = rng.choice(((inset, y), (width - inset, y), (x, inset), (x, height - inset)))
        for other in others:
            other_radius = other.radius * math.sqrt(width * height)
            apart = math.hypot(x - other.x * width, y - other.y * height)
            if apart < 1.15 * (radius + other_radius) + 0.02 * shorter:
                return None
            if math.hypot(x / width - other.x, y / height - other.y) < self.apart:
                return None
        tilt = rng.uniform(-0.3, 0.3) if rng.random() < 0.8 else 0.0
        thing = Thing(kind, x / width, y / height, radius / math.sqrt(width * height), tilt, rgb)
        return self._style(rng, thing, radius)

    def _style(self, rng: random.Random, thing: Thing, pixels: float) -> Thing:
        """Fills, hatches or outlines a thing, whose radius in pixels is given, exactly or by hand."""
        if pixels > 8 and rng.random() < 0.3:
            thing = replace(thing, rough=rng.uniform(0.008, 0.028), seed=rng.getrandbits(32))
        match rng.choices(("filled", "border", "outline", "hatched"), (50, 20, 22, 8))[0]:
            case "border":
                dark = tuple(round(value * rng.uniform(0.3, 0.6)) for value in thing.rgb)
                border = rng.choice(((0, 0, 0), (40, 40, 40), dark, (255, 255, 255)))
                width = min(0.25, max(1 / pixels, rng.uniform(0.03, 0.22)))
                return replace(thing, border=border, border_width=width)  # type: ignore[arg-type]
            case "outline" if pixels > 7:
                return replace(thing, line=max(1.5 / pixels, rng.uniform(0.14, 0.4)))
            case "hatched" if pixels > 14:
                hatch, line = rng.uniform(0.1, 0.25), rng.choice((0.0, rng.uniform(0.08, 0.15)))
                return replace(thing, hatch=hatch, line=line, seed=rng.getrandbits(32))
        return thing

    def _finish(self, rng: random.Random, scene: Scene, paper: papers.Paper, size: tuple[int, int]) -> Scene:
        """Chooses sharpness, noise and compression."""
        smallest = min((thing.radius * math.sqrt(size[0] * size[1]) for thing in scene.things), default=50.0)
        blur = rng.uniform(0.3, max(0.4, min(0.2 * smallest, 4.0))) if rng.random() < 0.2 else 0.0
        quality = rng.choice((rng.randint(30, 60), rng.randint(60, 95))) if rng.random() < 0.5 else 0
        noise = rng.uniform(1.0, 14.0) if rng.random() < 0.2 else 0.0
        finish = Finish(paper, *size, smooth=rng.random() < 0.7, blur=blur, quality=quality)
        return replace(scene, noise=noise, finish=finish)


PLAIN, WIDE, CROWDED = PlainArtist(), WideArtist(most_alone=6, apart=0.2), WideArtist(most_alone=12, apart=0.1)


def change(rng: random.Random, scene: Scene, artist: Artist = PLAIN) -> tuple[Scene, str]:
    """Changes one thing of a scene; returns the new scene and a sentence about the change."""
    spare = [kind for kind in KINDS if kind not in scene.kinds]
    while True:
        index = rng.randrange(len(scene.things))
        thing = scene.things[index]
        new: Thing | None = None
        match rng.choice(("colour", "shape", "appear", "disappear")):
            case "colour":
                kind = rng.choice([kind for kind in spare if kind.shape == thing.kind.shape])
                new = artist.repaint(rng, scene, thing, kind)
                sentence = f"The {thing.kind} became {kind.colour}."
                if new is None:
                    continue
            case "shape":
                kind = rng.choice([kind for kind in spare if kind.colour == thing.kind.colour])
                new = replace(thing, kind=kind)
                sentence = f"The {thing.kind} became a {kind.shape}."
            case "appear":
                kind = rng.choice(spare)
                larger = artist.add(rng, scene, kind)
                if larger is not None:
                    return larger, f"A {kind} appeared."
                sentence = f"The {thing.kind} disappeared."
            case _:
                sentence = f"The {thing.kind} disappeared."
        return _replace_thing(scene, index, new), sentence


def _replace_thing(scene: Scene, index: int, thing: Thing | None) -> Scene:
    new = () if thing is None else (thing,)
    return replace(scene, things=scene.things[:index] + new + scene.things[index + 1 :])
