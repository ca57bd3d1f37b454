"""Random damage to files, the same for the same seed."""

import random
from collections.abc import Callable

EDGES = (b"\0", b"\1", b"\x7f", b"\x80", b"\xff", b"\0\0", b"\x7f\xff", b"\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff",
         b"\x80\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0\0\0", b"\0\0\0\1")  # fmt: skip
HEADER_BYTES = 200  # most formats keep their sizes and counts within these


def mutant(rng: random.Random, files: list[bytes]) -> bytes:
    """Returns a copy of one of the files, damaged by one to three of `DAMAGES`."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.randint(1, 3)):
        rng.choice(DAMAGES)(rng, data, files)
    return bytes(data)


def _flip(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """Flips single bits."""
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _edit_header(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """Overwrites bytes of the header by an extreme number."""
    edge = rng.choice(EDGES)
    start = rng.randrange(4, HEADER_BYTES)
    data[start : start + len(edge)] = edge


def _edit(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """Overwrites bytes anywhere by an extreme number."""
    edge = rng.choice(EDGES)
    start = rng.randrange(len(data) + 1)
    data[start : start + len(edge)] = edge


def _truncate(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """Cuts the end off."""
    del data[rng.randrange(len(data) + 1) :]


def _splice(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """Replaces the end of the file by the end of another."""
    other = rng.choice(files)
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other)) :]


def _repeat(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """Inserts copies of a piece before it."""
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.choice((1, 16, 256, 4096))]
    data[start:start] = piece * rng.choice((1, 2, 16))


def _remove(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """Removes a piece."""
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice((1, 4, 16, 256))]


def _fill(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """Overwrites a piece by random bytes or zeros."""
    start = rng.randrange(len(data) + 1)
    length = min(rng.choice((16, 256, 4096)), len(data) - start)
    data[start : start + length] = rng.randbytes(length) if rng.random() < 0.5 else bytes(length)


DAMAGES: tuple[Callable[[random.Random, bytearray, list[bytes]], None], ...] = (
    _flip, _flip, _edit_header, _edit_header, _edit, _truncate, _splice, _repeat, _remove, _fill,
)  # fmt: skip
