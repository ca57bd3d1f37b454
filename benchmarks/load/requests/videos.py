"""Videos to send: encoded from pictures, or files of a folder; and the sampled frames of either, as images."""

import functools
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from llava_interleave_serve.benchmarks.load.requests.images import Encoded, MediaFile, Picture, Pixels
from llava_interleave_serve.benchmarks.openai_api import content_parts

SUBTYPES = {".mp4": "mp4", ".mov": "mp4", ".webm": "webm", ".mkv": "x-matroska", ".avi": "x-msvideo"}
FRAME_QUALITY = 90  # of frames sent as JPEG images


class Clip(Protocol):
    """One video file; equal clips have equal bytes."""

    def file(self) -> MediaFile:
        """Encodes or reads the video's file."""
        ...

    def sample(self, number: int) -> tuple[Picture, ...]:
        """Samples `number` frames, or all if there are fewer, evenly from the first to the last."""
        ...

    def __hash__(self) -> int: ...


def sampled_indices(total: int, number: int) -> list[int]:
    """The indices of the frames that this project's server samples of `total`, as docs/http.md describes it."""
    indices: list[int] = np.linspace(0, total - 1, min(number, total), dtype=int).tolist()
    return indices


@dataclass(frozen=True, slots=True)
class GeneratedClip:
    """An MP4 file of frames of one size."""

    frames: tuple[Pixels, ...]
    fps: float

    def file(self) -> MediaFile:
        """Draws and encodes the frames."""
        from llava_interleave_serve.demo.scenes.mp4 import write_mp4  # noqa: PLC0415 - only to write videos

        return MediaFile("mp4", write_mp4((frame.draw() for frame in self.frames), self.fps))

    def sample(self, number: int) -> tuple[Picture, ...]:
        """Samples frames as the protocol describes; they are encoded as JPEG, not taken from the MP4 file."""
        indices = sampled_indices(len(self.frames), number)
        return tuple(Encoded(self.frames[index], "jpeg", FRAME_QUALITY) for index in indices)


@dataclass(frozen=True, slots=True)
class _FileFrame:
    """A frame of a video file, as JPEG."""

    path: Path
    index: int
    sampled: tuple[int, ...]
    """The indices of all frames that are sampled of the file, for it to be decoded once."""

    def file(self) -> MediaFile:
        """Decodes and encodes the frame. Raises ValueError if it cannot be read."""
        try:
            return MediaFile("jpeg", _jpegs(self.path, self.sampled)[self.index])
        except KeyError:
            raise ValueError(f"{self.path}: frame {self.index} cannot be read") from None


@dataclass(frozen=True, slots=True)
class ClipFile:
    """A file, sent as it is."""

    path: Path

    def file(self) -> MediaFile:
        """Reads the file."""
        return MediaFile(SUBTYPES[self.path.suffix.lower()], self.path.read_bytes())

    def sample(self, number: int) -> tuple[Picture, ...]:
        """Samples frames as the protocol describes. Raises ValueError for a file that is no video."""
        indices = tuple(sampled_indices(_frame_count(self.path), number))
        return tuple(_FileFrame(self.path, index, indices) for index in indices)


def _frame_count(path: Path) -> int:
    import av  # noqa: PLC0415 - only for video files whose frames are sent as images

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path}: not a video that can be read ({error})") from None


def _decoded(path: Path, last: int) -> Iterator[np.ndarray]:
    """The frames up to index `last`, uint8 [height, width, 3], RGB; fewer if the file is cut short or damaged."""
    import av  # noqa: PLC0415 - as above

    try:
        with av.open(str(path)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                yield frame.to_ndarray(format="rgb24")
                if index == last:
                    return
    except av.FFmpegError:
        return


@functools.lru_cache(maxsize=4)
def _jpegs(path: Path, indices: tuple[int, ...]) -> dict[int, bytes]:
    """The frames of these indices as JPEG files; without those that cannot be decoded."""
    wanted, jpegs = set(indices), {}
    for index, pixels in enumerate(_decoded(path, max(wanted))):
        if index in wanted:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "jpeg", quality=FRAME_QUALITY)
            jpegs[index] = buffer.getvalue()
    return jpegs


def files_in(folder: str) -> list[ClipFile]:
    """The videos directly in a folder, by name."""
    return [ClipFile(path) for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in SUBTYPES]


@functools.lru_cache(maxsize=16)
def data_url(clip: Clip) -> str:
    """The clip's file as a data URL."""
    file = clip.file()
    return content_parts.data_url(file.content, f"video/{file.subtype}")
