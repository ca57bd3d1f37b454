"""Pictures to send: synthesised from a seed, drawn from the demo's scenes, or files; each gives its file's bytes."""

import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from llava_interleave_serve.benchmarks.openai_api import content_parts

if TYPE_CHECKING:  # it brings torch, and seconds
    from llava_interleave_serve.demo.scenes.drawing import Scene

# Side of the grids of random colours that are blown up and added, and the weight of each: most of a photograph is in
# its large shapes, and what is left falls with the frequency.
OCTAVES = ((4, 90.0), (12, 45.0), (40, 22.0), (130, 10.0))
GRAIN = 5.0
PAN = 5  # pixels that the view moves from one frame to the next
MEDIA_TYPES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".gif": "gif", ".bmp": "bmp"}


class Picture(Protocol):
    """One image, frame or view; equal pictures have equal bytes."""

    def file(self) -> tuple[str, bytes]:
        """The media type's second half (`jpeg`) and the file's bytes."""
        ...

    def __hash__(self) -> int: ...


class Pixels(Protocol):
    """What can be drawn: uint8 [height, width, 3], RGB."""

    def draw(self) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Noise:
    """A photograph-like picture of its own for each seed; `at` is the frame's number, if it is of a video."""

    seed: int
    width: int
    height: int
    at: int = 0

    def draw(self) -> np.ndarray:
        base = _photograph(self.seed, self.width, self.height)
        return np.roll(base, (-(self.at * PAN // self.width), -self.at * PAN), (0, 1)) if self.at else base


@functools.lru_cache(maxsize=64)
def _photograph(seed: int, width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    canvas = np.full((height, width, 3), rng.uniform(90, 165, 3).astype(np.float32))
    for side, weight in OCTAVES:
        coarse = rng.integers(0, 256, (side, side, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        canvas += (np.asarray(smooth, np.float32) - 127.5) * np.float32(weight / 64)
    canvas += rng.standard_normal((height, width, 1), np.float32) * np.float32(GRAIN)
    return np.clip(canvas, 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One of the demo's scenes, squashed to width x height."""

    scene: "Scene"
    width: int
    height: int

    def draw(self) -> np.ndarray:
        side = max(self.width, self.height)
        return np.asarray(Image.fromarray(self.scene.draw(side)).resize((self.width, self.height)))


@dataclass(frozen=True, slots=True)
class Encoded:
    """Pixels in a file of a format: jpeg, png or webp (lossy)."""

    pixels: Pixels
    format: str
    quality: int = 85

    def file(self) -> tuple[str, bytes]:
        buffer = io.BytesIO()
        options = {"compress_level": 3} if self.format == "png" else {"quality": self.quality}
        Image.fromarray(self.pixels.draw()).save(buffer, self.format, **options)
        return self.format, buffer.getvalue()


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file, sent as it is."""

    path: Path

    def file(self) -> tuple[str, bytes]:
        return MEDIA_TYPES[self.path.suffix.lower()], self.path.read_bytes()


def in_folder(folder: str) -> list[PictureFile]:
    """The pictures directly in a folder, by name."""
    return [PictureFile(path) for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in MEDIA_TYPES]


@functools.lru_cache(maxsize=128)
def data_url(picture: Picture) -> str:
    """The picture as a data URL."""
    kind, content = picture.file()
    return content_parts.data_url(content, f"image/{kind}")
