"""Counters of the encoder cache, which the engine's processes write and the front end reads: a memory-mapped file.

vLLM's statistics have no room for what an encoder cache of one's own counts. Needs numpy alone.
"""

import os
import tempfile
from pathlib import Path

import numpy as np

NAMES = ("hits", "misses", "evictions", "bytes")
RANKS = 256  # data parallel ranks that a file has a line for; each is written by one process


def create() -> Path:
    """Makes the file, with zeros."""
    handle, name = tempfile.mkstemp(prefix="llava-interleave-visual-cache-")
    with os.fdopen(handle, "wb") as file:
        file.write(bytes(RANKS * len(NAMES) * np.dtype(np.int64).itemsize))
    return Path(name)


def open_lines(path: str | Path) -> np.ndarray:
    """The counters of all ranks, int64 [RANKS, len(NAMES)]; they stay when the file is deleted."""
    lines: np.ndarray = np.memmap(path, np.int64, "r+", shape=(RANKS, len(NAMES)))
    return lines


def open_line(path: str | None, rank: int) -> np.ndarray:
    """The counters of a data parallel rank, int64 [len(NAMES)]; in no file where another machine has the front end."""
    if path is None or rank >= RANKS or not Path(path).is_file():
        return np.zeros(len(NAMES), np.int64)
    line: np.ndarray = open_lines(path)[rank]
    return line


def totals(lines: np.ndarray) -> dict[str, int]:
    """The counters by name, of all ranks together."""
    return dict(zip(NAMES, lines.sum(0).tolist(), strict=True))
