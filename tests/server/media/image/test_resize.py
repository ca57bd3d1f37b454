"""Our resize against Pillow's bicubic on 200 pictures, in every mode and orientation that a served format holds.

Pillow's arithmetic is that of its two passes, columns first, as Pillow has done them up to version 12 and as the
checkpoints were evaluated; version 13 takes rows first for tall pictures, and is up to 26 levels from itself there.

Where there is no C compiler Pillow itself resizes; both are held to it.
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
from llava_interleave_serve.server.media.image.squash import Squash
from llava_interleave_serve.server.media.native import build
from llava_interleave_serve.server.observability.timing import Phases

PICTURES = 200
SIZES = (112, 384)  # the demo's tower, and the published checkpoints'
WHITE = (255, 255, 255, 255)
FORMATS = {  # which served formats hold a mode; PA is a palette with transparency
    "1": ("PNG", "BMP"), "L": ("PNG", "JPEG", "BMP"), "LA": ("PNG",), "P": ("PNG", "GIF", "BMP"), "PA": ("PNG", "GIF"),
    "RGB": ("PNG", "JPEG", "WEBP", "BMP"), "RGBA": ("PNG", "WEBP"), "CMYK": ("JPEG",), "I;16": ("PNG",),
}  # fmt: skip


def photograph(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Waves of many lengths, and a sensor's noise."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.full((height, width, 3), 128.0)
    for colour in range(3):
        for slow, fast, phase in random.normal(0, (0.05, 0.05, 3.0), (6, 3)):
            pixels[..., colour] += random.uniform(5, 40) * np.sin(slow * x + fast * y + phase)
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
    """Every drawing, mode, format, orientation and size, in changing company."""
    kinds = [(mode, kind) for mode, kinds in FORMATS.items() for kind in kinds]
    columns = (cycle((photograph, line_art, noise)), cycle(kinds), cycle(range(1, 9)), cycle(SIZES))
    return [Case(draw, *kind, turn, size, at) for at, (draw, kind, turn, size) in
            enumerate(islice(zip(*columns, strict=False), PICTURES))]  # fmt: skip


def as_pillow(data: bytes, size: int) -> np.ndarray:
    """What Pillow makes of the file: turned, over white, resized by columns and then by rows."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I"):
        image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    image = image.convert("RGB").resize((size, image.height), Image.Resampling.BICUBIC)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def is_pillows(case: Case) -> bool:
    data = case.file()
    (view,) = decode_image(data, Squash(case.size), Limits(), Phases())
    return bool((view == as_pillow(data, case.size)).all())


@pytest.mark.parametrize("mode", FORMATS)
def test_our_resize_is_pillows_to_the_level(mode: str) -> None:
    assert build.library() is not None, "these tests are of the C, and need a compiler"
    assert [case for case in cases() if case.mode == mode and not is_pillows(case)] == []


def test_without_a_compiler_it_is_the_same(without_compiler: None) -> None:
    assert [case for case in cases()[::5] if not is_pillows(case)] == []


def test_scaled_decodes_large_jpegs_alone_smaller() -> None:
    picture = Image.fromarray(photograph(np.random.default_rng(0), 1600, 900))
    files = {kind: io.BytesIO() for kind in ("JPEG", "PNG")}
    for kind, file in files.items():
        picture.save(file, kind)
    small = io.BytesIO()
    picture.resize((300, 200)).save(small, "JPEG")

    def views(data: bytes) -> list[np.ndarray]:
        return [decode_image(data, Squash(384, scales), Limits(), Phases()).astype(int) for scales in (False, True)]

    whole, scaled = views(files["JPEG"].getvalue())
    assert 0 < np.abs(scaled - whole).mean() < 3  # of 255
    for data in (files["PNG"].getvalue(), small.getvalue()):
        whole, scaled = views(data)
        assert (scaled == whole).all()


def test_the_pictures_are_of_every_kind() -> None:
    assert len(cases()) == PICTURES
    for name, count in {"draw": 3, "mode": 9, "kind": 5, "orientation": 8, "size": 2}.items():
        found = Counter(getattr(case, name) for case in cases())
        assert len(found) == count
        assert min(found.values()) >= PICTURES / count / 4
