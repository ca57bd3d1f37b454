"""Small videos as OpenCV writes them, and the damage done to them."""

import tempfile
from pathlib import Path

import cv2
import numpy as np

CODES = {"mp4": "mp4v", "mov": "mp4v", "avi": "MJPG", "mkv": "mp4v", "webm": "VP80"}
SIZE = (64, 48)


def write(kind: str, frames: int = 20, size: tuple[int, int] = SIZE, fps: float = 10) -> bytes:
    """A film of noise in a container of that kind."""
    noise = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film.{kind}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODES[kind]), fps, size)
        for _ in range(frames):
            writer.write(noise.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        writer.release()
        return path.read_bytes()


def with_field(film: bytes, atom: bytes, offset: int, value: bytes) -> bytes:
    """The film with bytes of its one such atom (or chunk) replaced, counted from the end of the atom's name."""
    assert film.count(atom) == 1
    at = film.index(atom) + len(atom) + offset
    return film[:at] + value + film[at + len(value) :]


def inside(film: bytes, path: tuple[bytes, ...], old: bytes, new: bytes) -> bytes:
    """An MP4 with bytes of an atom replaced by others, the lengths of the atoms around it made to fit.

    path: the names of those atoms, from outside.
    """
    at = 0
    grown = bytearray(film)
    for name in path:
        at = film.index(name, at)
        size = int.from_bytes(film[at - 4 : at], "big") + len(new) - len(old)
        grown[at - 4 : at] = size.to_bytes(4, "big")
    place = film.index(old, at)
    return bytes(grown[:place] + new + grown[place + len(old) :])
