"""Writes small videos with OpenCV, and damages MP4 and AVI files at chosen fields."""

import tempfile
from pathlib import Path

import cv2
import numpy as np

CODES = {"mp4": "mp4v", "mov": "mp4v", "avi": "MJPG", "mkv": "mp4v", "webm": "VP80"}  # of the codec, by container
SIZE = (64, 48)


def write(container: str, frames: int = 20, size: tuple[int, int] = SIZE, fps: float = 10) -> bytes:
    """Writes a video of noise, `size` (width, height) pixels large."""
    noise = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video.{container}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODES[container]), fps, size)
        for _ in range(frames):
            writer.write(noise.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        writer.release()
        return path.read_bytes()


def with_field(video: bytes, atom: bytes, offset: int, value: bytes) -> bytes:
    """Overwrites a field of the only atom (of MP4) or chunk (of AVI) with this name, `offset` bytes behind the name."""
    assert video.count(atom) == 1
    start = video.index(atom) + len(atom) + offset
    return video[:start] + value + video[start + len(value) :]


def inside(video: bytes, path: tuple[bytes, ...], old: bytes, new: bytes) -> bytes:
    """Replaces the first `old` in an atom of an MP4 by `new`, and adapts the sizes of the atoms around it.

    path: the names of those atoms, from the outermost to the innermost.
    """
    position = 0
    resized = bytearray(video)
    for name in path:
        position = video.index(name, position)
        size = int.from_bytes(video[position - 4 : position], "big") + len(new) - len(old)
        resized[position - 4 : position] = size.to_bytes(4, "big")
    start = video.index(old, position)
    return bytes(resized[:start] + new + resized[start + len(old) :])
