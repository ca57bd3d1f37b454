"""SquareResize gives Pillow's bicubic on 200 pictures, in every mode and orientation that a served format holds.

Pillow up to version 12 resizes the width first, as it did when the checkpoints were evaluated, and so does
SquareResize. Version 13 resizes the height of tall pictures first, which changes values by up to 26 levels.

The same holds where there is no C compiler and Pillow itself resizes.
"""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.native import build
from llava_interleave_serve.server.observability.timing import RequestTiming

PICTURES = 200
SIZES = (112, 384)  # the demo's tower, and the published checkpoints'
WHITE = (255, 255, 255, 255)
FORMATS = {  # which served formats hold a mode; PA is a palette with transparency
    "1": ("PNG", "BMP"), "L": ("PNG", "JPEG", "BMP"), "LA": ("PNG",), "P": ("PNG", "GIF", "BMP"), "PA": ("PNG", "GIF"),
    "RGB": ("PNG", "JPEG", "WEBP", "BMP"), "RGBA": ("PNG", "WEBP"), "CMYK": ("JPEG",), "I;16": ("PNG",),
}  # fmt: skip


def photograph(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Waves of many lengths under noise like a sensor's."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.full((height, width, 3), 128.0)
    for colour in range(3):
        for x_frequency, y_frequency, phase in random.normal(0, (0.05, 0.05, 3.0), (6, 3)):
            pixels[..., colour] += random.uniform(5, 40) * np.sin(x_frequency * columns + y_frequency * rows + phase)
    return (pixels + random.normal(0, 4, (height, width, 1))).clip(0, 255).astype(np.uint8)


def line_art(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    image = Image.new("RGB", (width, height), "white")
    for _ in range(60):
        ends = random.integers(0, max(width, height), 4).tolist()
        colour, thick = tuple(random.integers(0, 256, 3).tolist()), int(random.integers(1, 6))
        ImageDraw.Draw(image).line(ends, fill=colour, width=thick)
    return np.asarray(image)


def noise(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Case:
    draw: Callable[[np.random.Generator, int, int], np.ndarray]
    mode: str
    kind: str
    orientation: int
    size: int
    seed: int

    def file(self) -> bytes:
        random = np.random.default_rng(self.seed)
        width, height = (int(side) for side in np.exp(random.uniform(np.log(16), np.log(1200), 2)))
        image = Image.fromarray(self.draw(random, width, height))
        alpha = Image.fromarray(random.integers(0, 256, (height, width), dtype=np.uint8))
        exif = Image.Exif()
        options: dict[str, Any] = {}
        exif[0x0112] = self.orientation
        match self.mode:
            case "LA":
                image = Image.merge("LA", (image.convert("L"), alpha))
            case "RGBA":
                image.putalpha(alpha)
            case "PA":
                image, options = image.quantize(64), {"transparency": 3}
            case "I;16":
                image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256 + np.asarray(alpha))
            case _:
                image = image.convert(self.mode)
        if self.kind not in ("GIF", "BMP"):  # which have no Exif data
            options["exif"] = exif
        buffer = io.BytesIO()
        image.save(buffer, self.kind, **options)
        return buffer.getvalue()


def cases() -> list[Case]:
    """Combines drawings, modes, formats, orientations and sizes so that each occurs with many of the others."""
    kinds = [(mode, kind) for mode, kinds in FORMATS.items() for kind in kinds]
    columns = (cycle((photograph, line_art, noise)), cycle(kinds), cycle(range(1, 9)), cycle(SIZES))
    combinations = islice(zip(*columns, strict=False), PICTURES)
    return [Case(draw, *kind, turn, size, seed) for seed, (draw, kind, turn, size) in enumerate(combinations)]


def view_by_pillow(data: bytes, size: int) -> np.ndarray:
    """The view that Pillow alone makes of a file: turned, over white, resized in width and then in height."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I"):
        image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    image = image.convert("RGB").resize((size, image.height), Image.Resampling.BICUBIC)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def matches_pillow(case: Case) -> bool:
    data = case.file()
    (view,) = decode_image(data, SquareResize(case.size), Limits(), RequestTiming()).views
    return bool((view == view_by_pillow(data, case.size)).all())


@pytest.mark.parametrize("mode", FORMATS)
def test_square_resize_gives_the_values_of_pillow(mode: str) -> None:
    assert build.library() is not None, "these tests are of the C, and need a compiler"
    assert [case for case in cases() if case.mode == mode and not matches_pillow(case)] == []


def test_square_resize_without_a_compiler_gives_the_values_of_pillow(without_compiler: None) -> None:
    assert [case for case in cases()[::5] if not matches_pillow(case)] == []


def test_the_option_scales_jpegs_changes_large_jpegs_only() -> None:
    picture = Image.fromarray(photograph(np.random.default_rng(0), 1600, 900))
    files = {kind: io.BytesIO() for kind in ("JPEG", "PNG")}
    for kind, file in files.items():
        picture.save(file, kind)
    small = io.BytesIO()
    picture.resize((300, 200)).save(small, "JPEG")

    def views(data: bytes) -> list[np.ndarray]:
        return [
            decode_image(data, SquareResize(384, scales), Limits(), RequestTiming()).views.astype(int)
            for scales in (False, True)
        ]

    whole, scaled = views(files["JPEG"].getvalue())
    assert 0 < np.abs(scaled - whole).mean() < 3  # of 255
    for data in (files["PNG"].getvalue(), small.getvalue()):
        whole, scaled = views(data)
        assert (scaled == whole).all()


def test_the_cases_of_square_resize_cover_every_mode_and_orientation() -> None:
    assert len(cases()) == PICTURES
    for name, count in {"draw": 3, "mode": 9, "kind": 5, "orientation": 8, "size": 2}.items():
        occurrences = Counter(getattr(case, name) for case in cases())
        assert len(occurrences) == count
        assert min(occurrences.values()) >= PICTURES / count / 4
