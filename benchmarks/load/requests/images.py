"""Pictures to send: synthesised from a seed, drawn from the demo's scenes, or files of a folder."""

import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from PIL import Image

from llava_interleave_serve.benchmarks.openai_api import content_parts

if TYPE_CHECKING:  # it brings torch, and seconds
    from llava_interleave_serve.demo.scenes.drawing import Scene

# Side of the grids of random colours that are blown up and added, and the weight of each: most of a photograph is in
# its large shapes, and what is left falls with the frequency.
OCTAVES = ((4, 90.0), (12, 45.0), (40, 22.0), (130, 10.0))
GRAIN = 5.0  # standard deviation of the noise added to each pixel
PAN = 5  # pixels that the view moves from one frame to the next
SUBTYPES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".gif": "gif", ".bmp": "bmp"}


class MediaFile(NamedTuple):
    """A file as it is sent: its media type's second half (`jpeg` of `image/jpeg`) and its bytes."""

    subtype: str
    content: bytes


class Picture(Protocol):
    """One image, frame or view; equal pictures have equal bytes."""

    def file(self) -> MediaFile:
        """Encodes or reads the picture's file."""
        ...

    def __hash__(self) -> int: ...


class Pixels(Protocol):
    """A picture that can be drawn."""

    def draw(self) -> np.ndarray:
        """Draws the picture: uint8 [height, width, 3], RGB."""
        ...


@dataclass(frozen=True, slots=True)
class Noise:
    """A photograph-like picture, another one for each seed."""

    seed: int
    width: int
    height: int
    frame: int = 0
    """Index of the frame, if the picture is of a video."""

    def draw(self) -> np.ndarray:
        """Draws the picture: uint8 [height, width, 3], RGB. Each frame of a video shows the same scene panned on."""
        base = _photograph(self.seed, self.width, self.height)
        shift = self.frame * PAN
        return np.roll(base, (-(shift // self.width), -shift), (0, 1)) if shift else base


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
class SceneDrawing:
    """One of the demo's scenes, resized to width x height whatever its aspect ratio."""

    scene: "Scene"
    width: int
    height: int

    def draw(self) -> np.ndarray:
        """Draws the scene: uint8 [height, width, 3], RGB."""
        side = max(self.width, self.height)
        return np.asarray(Image.fromarray(self.scene.draw(side)).resize((self.width, self.height)))


@dataclass(frozen=True, slots=True)
class Encoded:
    """Pixels in a file of a format: jpeg, png or webp (lossy)."""

    pixels: Pixels
    format: str
    quality: int = 85
    """Of JPEG and WebP, 1 to 100."""

    def file(self) -> MediaFile:
        """Draws and encodes the pixels."""
        buffer = io.BytesIO()
        options = {"compress_level": 3} if self.format == "png" else {"quality": self.quality}
        Image.fromarray(self.pixels.draw()).save(buffer, self.format, **options)
        return MediaFile(self.format, buffer.getvalue())


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file, sent as it is."""

    path: Path

    def file(self) -> MediaFile:
        """Reads the file."""
        return MediaFile(SUBTYPES[self.path.suffix.lower()], self.path.read_bytes())


def files_in(folder: str) -> list[PictureFile]:
    """The pictures directly in a folder, by name."""
    return [PictureFile(path) for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in SUBTYPES]


@functools.lru_cache(maxsize=128)
def data_url(picture: Picture) -> str:
    """The picture's file as a data URL."""
    file = picture.file()
    return content_parts.data_url(file.content, f"image/{file.subtype}")
