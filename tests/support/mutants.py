"""Damage to files: the same for the same seed."""

import random
from collections.abc import Callable

EDGES = (b"\0", b"\1", b"\x7f", b"\x80", b"\xff", b"\0\0", b"\x7f\xff", b"\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff",
         b"\x80\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0\0\0", b"\0\0\0\1")  # fmt: skip
HEAD = 200  # bytes in which most headers have their numbers


def mutant(rng: random.Random, files: list[bytes]) -> bytes:
    """One of the files, damaged in one to three ways."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.randint(1, 3)):
        rng.choice(WAYS)(rng, data, files)
    return bytes(data)


def _flip(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _edit_head(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    edge = rng.choice(EDGES)
    at = rng.randrange(4, HEAD)
    data[at : at + len(edge)] = edge


def _edit(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    edge = rng.choice(EDGES)
    at = rng.randrange(len(data) + 1)
    data[at : at + len(edge)] = edge


def _truncate(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _splice(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """The beginning of this file, the end of another."""
    other = rng.choice(files)
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other)) :]


def _repeat(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.choice((1, 16, 256, 4096))]
    data[start:start] = piece * rng.choice((1, 2, 16))


def _remove(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice((1, 4, 16, 256))]


def _fill(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    start = rng.randrange(len(data) + 1)
    length = min(rng.choice((16, 256, 4096)), len(data) - start)
    data[start : start + length] = rng.randbytes(length) if rng.random() < 0.5 else bytes(length)


WAYS: tuple[Callable[[random.Random, bytearray, list[bytes]], None], ...] = (
    _flip, _flip, _edit_head, _edit_head, _edit, _truncate, _splice, _repeat, _remove, _fill,
)  # fmt: skip
