"""Writes small JPEG files of any sampling factors, which no encoder at hand does."""

import itertools
import math
import struct
from collections.abc import Iterator, Sequence

import numpy as np

START, END = b"\xff\xd8", b"\xff\xd9"
SYMBOLS = 12  # of each Huffman table: codes of four bits for as many bits as a coefficient has; 0 also ends a block
Factors = tuple[int, int]


def segment(marker: int, content: bytes = b"") -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def huffman_tables() -> bytes:
    counts = bytes([0, 0, 0, SYMBOLS, *[0] * 12])
    return b"".join(segment(0xC4, bytes([kind]) + counts + bytes(range(SYMBOLS))) for kind in (0x00, 0x10))


class Bits:
    """Bits of entropy-coded data, padded with ones."""

    def __init__(self) -> None:
        self.bits: list[str] = []

    def write(self, number: int) -> None:
        """Writes a coefficient's number of bits, and the bits."""
        size = abs(number).bit_length()
        self.bits.append(format(size, "04b"))
        if size:
            self.bits.append(format(number if number > 0 else number + (1 << size) - 1, f"0{size}b"))

    def data(self) -> bytes:
        text = "".join(self.bits)
        text += "1" * (-len(text) % 8)
        content = int(text, 2).to_bytes(len(text) // 8) if text else b""
        return content.replace(b"\xff", b"\xff\0")


def scan_header(components: Sequence[int], last: int = 63) -> bytes:
    named = b"".join(bytes([component + 1, 0]) for component in components)
    return segment(0xDA, bytes([len(components)]) + named + bytes([0, last, 0]))


def write(size: tuple[int, int], factors: Sequence[Factors], coefficients: int, seed: int, *, by_scan: bool) -> bytes:
    """Writes a sequential JPEG of random blocks.

    factors: horizontal and vertical, of each component. coefficients: how many of each block of the first component are
    random; the other components have no more than one, all blocks the same. by_scan: True for a scan a component.
    """
    width, height = size
    random = np.random.default_rng(seed)
    across, down = max(h for h, _ in factors), max(v for _, v in factors)
    parts = b"".join(bytes([index + 1, h << 4 | v, 0]) for index, (h, v) in enumerate(factors))
    frame = segment(0xC1, struct.pack(">BHHB", 8, height, width, len(factors)) + parts)
    tables = segment(0xDB, b"\0" + b"\x08" * 64) + huffman_tables()
    data = START + tables + frame
    for components in [[index] for index in range(len(factors))] if by_scan else [list(range(len(factors)))]:
        data += scan_header(components)
        data += _scan_data(components, factors, (across, down), size, coefficients, random)
    return data + END


def _scan_data(
    components: Sequence[int], factors: Sequence[Factors], most: Factors, size: tuple[int, int], coefficients: int,
    random: np.random.Generator,
) -> bytes:  # fmt: skip
    bits, last = Bits(), [0] * len(factors)
    for component in _blocks(components, factors, most, size):
        block = random.integers(-60, 61, coefficients).tolist() if component == 0 else [25 - 50 * (component - 1)]
        bits.write(block[0] - last[component])
        last[component] = block[0]
        for number in block[1:]:
            bits.write(number or 1)
        bits.write(0)
    return bits.data()


def _blocks(
    components: Sequence[int], factors: Sequence[Factors], most: Factors, size: tuple[int, int]
) -> Iterator[int]:
    """Yields the component of each block of a scan."""
    if len(components) > 1:
        mcus = math.prod(math.ceil(size[axis] / (8 * most[axis])) for axis in (0, 1))
        for _ in range(mcus):
            for component in components:
                yield from itertools.repeat(component, factors[component][0] * factors[component][1])
        return
    (component,) = components
    sides = [math.ceil(math.ceil(size[axis] * factors[component][axis] / most[axis]) / 8) for axis in (0, 1)]
    yield from itertools.repeat(component, math.prod(sides))
