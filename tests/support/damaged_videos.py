"""Small videos that OpenCV writes, and functions that damage them."""

import tempfile
from pathlib import Path

import cv2
import numpy as np

CODES = {"mp4": "mp4v", "mov": "mp4v", "avi": "MJPG", "mkv": "mp4v", "webm": "VP80"}
SIZE = (64, 48)


def write(kind: str, frames: int = 20, size: tuple[int, int] = SIZE, fps: float = 10) -> bytes:
    """Writes a video of noise in a container, a key of CODES; size is (width, height)."""
    noise = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video.{kind}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODES[kind]), fps, size)
        for _ in range(frames):
            writer.write(noise.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        writer.release()
        return path.read_bytes()


def with_field(video: bytes, atom: bytes, offset: int, value: bytes) -> bytes:
    """Overwrites bytes of the only atom (or chunk) of a name; `offset` counts from the end of the name."""
    assert video.count(atom) == 1
    start = video.index(atom) + len(atom) + offset
    return video[:start] + value + video[start + len(value) :]


def inside(video: bytes, path: tuple[bytes, ...], old: bytes, new: bytes) -> bytes:
    """Replaces bytes inside an atom of an MP4 by longer or shorter ones, and adjusts the sizes of the atoms around them.

    path: the names of those atoms, outermost first.
    """
    position = 0
    result = bytearray(video)
    for name in path:
        position = video.index(name, position)
        size = int.from_bytes(video[position - 4 : position], "big") + len(new) - len(old)
        result[position - 4 : position] = size.to_bytes(4, "big")
    start = video.index(old, position)
    return bytes(result[:start] + new + result[start + len(old) :])
