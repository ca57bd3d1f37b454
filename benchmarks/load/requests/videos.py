"""Videos to send: made of pictures, or files; and the frames of one, for a server that takes only images."""

import functools
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from llava_interleave_serve.benchmarks.load.requests.images import Encoded, Picture, Pixels
from llava_interleave_serve.benchmarks.openai_api import content_parts

MEDIA_TYPES = {".mp4": "mp4", ".mov": "mp4", ".webm": "webm", ".mkv": "x-matroska", ".avi": "x-msvideo"}
FRAME_QUALITY = 90  # of frames sent as JPEG images


class Clip(Protocol):
    """One video file; equal clips have equal bytes."""

    def file(self) -> tuple[str, bytes]:
        """The media type's second half (`mp4`) and the file's bytes."""
        ...

    def sample(self, number: int) -> tuple[Picture, ...]:
        """`number` frames, or all if there are fewer, spread evenly from the first to the last."""
        ...

    def __hash__(self) -> int: ...


def spread(total: int, number: int) -> list[int]:
    """The numbers of the frames that a server takes, as docs/http.md has it."""
    return [round(place) for place in np.linspace(0, total - 1, min(number, total))]


@dataclass(frozen=True, slots=True)
class MadeClip:
    """An MP4 file of frames of one size."""

    frames: tuple[Pixels, ...]
    fps: float

    def file(self) -> tuple[str, bytes]:
        """Raises RuntimeError if OpenCV cannot write MP4 here."""
        import cv2  # noqa: PLC0415 - only to write videos

        height, width, _ = self.frames[0].draw().shape
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), self.fps, (width, height))
            for frame in self.frames:
                writer.write(np.ascontiguousarray(frame.draw()[..., ::-1]))
            writer.release()
            if not path.exists():
                raise RuntimeError(f"OpenCV wrote no MP4 file of {width}x{height} pixels")
            return "mp4", path.read_bytes()

    def sample(self, number: int) -> tuple[Picture, ...]:
        return tuple(Encoded(self.frames[at], "jpeg", FRAME_QUALITY) for at in spread(len(self.frames), number))


@dataclass(frozen=True, slots=True)
class _Frame:
    path: Path
    at: int

    def file(self) -> tuple[str, bytes]:
        """Raises ValueError if the video has no such frame that can be read."""
        import cv2  # noqa: PLC0415 - only for video files whose frames are sent as images

        video = cv2.VideoCapture(str(self.path))
        video.set(cv2.CAP_PROP_POS_FRAMES, self.at)
        is_read, frame = video.read()
        if not is_read:
            raise ValueError(f"{self.path}: frame {self.at} cannot be read")
        buffer = io.BytesIO()
        Image.fromarray(frame[..., ::-1]).save(buffer, "jpeg", quality=FRAME_QUALITY)
        return "jpeg", buffer.getvalue()


@dataclass(frozen=True, slots=True)
class ClipFile:
    """A file, sent as it is."""

    path: Path

    def file(self) -> tuple[str, bytes]:
        return MEDIA_TYPES[self.path.suffix.lower()], self.path.read_bytes()

    def sample(self, number: int) -> tuple[Picture, ...]:
        import cv2  # noqa: PLC0415 - as above

        total = int(cv2.VideoCapture(str(self.path)).get(cv2.CAP_PROP_FRAME_COUNT))
        return tuple(_Frame(self.path, at) for at in spread(total, number))


def in_folder(folder: str) -> list[ClipFile]:
    """The videos directly in a folder, by name."""
    return [ClipFile(path) for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in MEDIA_TYPES]


@functools.lru_cache(maxsize=16)
def data_url(clip: Clip) -> str:
    """The clip as a data URL."""
    kind, content = clip.file()
    return content_parts.data_url(content, f"video/{kind}")
