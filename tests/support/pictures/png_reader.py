"""Writes and reads PNG files of every depth and colour type by the specification alone; it reads no interlaced ones."""

import struct
import zlib
from dataclasses import dataclass, field

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
# Of each pass of an interlaced file: the first column and row, and the steps between columns and rows.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
DEPTHS = {GREY: (1, 2, 4, 8, 16), COLOUR: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), COLOUR_ALPHA: (8, 16)}


@dataclass
class Png:
    """A picture as a PNG file holds it.

    Attributes:
        samples: of the file's depth, [H, W, C].
        chunks: contents of the chunks before the pixels, by type.

    """

    depth: int
    colour_type: int
    samples: np.ndarray
    chunks: dict[bytes, bytes] = field(default_factory=dict)

    def over_white(self) -> np.ndarray:
        """The picture with its transparency over white: float [H, W, 3], of 0 to 255."""
        most = (1 << self.depth) - 1
        alpha = np.ones(self.samples.shape[:2])
        levels = self.samples / most
        transparent = self.chunks.get(b"tRNS")
        if self.colour_type == PALETTE:
            index = self.samples[..., 0]
            levels = np.frombuffer(self.chunks[b"PLTE"], np.uint8).reshape(-1, 3)[index] / 255
            if transparent is not None:
                alpha = np.array([*transparent, *[255] * (256 - len(transparent))])[index] / 255
        elif self.colour_type in (GREY_ALPHA, COLOUR_ALPHA):
            levels, alpha = levels[..., :-1], levels[..., -1]
        elif transparent is not None:
            colour = [value & most for value in struct.unpack(f">{len(transparent) // 2}H", transparent)]
            alpha = 1.0 - (self.samples == colour).all(-1)
        return np.broadcast_to(255 * (levels * alpha[..., None] + 1 - alpha[..., None]), (*alpha.shape, 3))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write(png: Png, behind: bytes = b"", *, interlaced: bool = False) -> bytes:
    """Returns the picture as a file, unfiltered. behind: chunks between the pixels and the end."""
    height, width, _ = png.samples.shape
    passes = [png.samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [png.samples]
    lines = b"".join(_scanlines(samples, png.depth) for samples in passes if samples.size)
    header = struct.pack(">IIBBBBB", width, height, png.depth, png.colour_type, 0, 0, int(interlaced))
    middle = b"".join(chunk(kind, content) for kind, content in png.chunks.items())
    data = chunk(b"IDAT", zlib.compress(lines))
    return SIGNATURE + chunk(b"IHDR", header) + middle + data + behind + chunk(b"IEND", b"")


def _scanlines(samples: np.ndarray, depth: int) -> bytes:
    values = samples.reshape(len(samples), -1)
    if depth == 16:
        rows = np.ascontiguousarray(values.astype(">u2")).view(np.uint8)
    else:
        bits = (values[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = np.packbits(bits.reshape(len(samples), -1).astype(np.uint8), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in rows)


def read(data: bytes) -> Png:
    position, chunks, compressed = len(SIGNATURE), {}, b""
    while position < len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + size]
        if kind == b"IDAT":
            compressed += content
        elif not compressed:
            chunks[kind] = content
        position += size + 12
    width, height, depth, colour_type = struct.unpack_from(">IIBB", chunks.pop(b"IHDR"))
    channels = CHANNELS[colour_type]
    row_bytes, step = -(-width * channels * depth // 8), max(1, channels * depth // 8)
    rows = _unfiltered(zlib.decompress(compressed), height, row_bytes, step)
    if depth == 16:
        values = rows.view(">u2").astype(np.int64)
    else:
        bits = np.unpackbits(rows, axis=1).reshape(height, -1, depth).astype(np.int64)
        values = (bits << np.arange(depth - 1, -1, -1)).sum(-1)[:, : width * channels]
    return Png(depth, colour_type, values.reshape(height, width, channels), chunks)


def _unfiltered(lines: bytes, height: int, row_bytes: int, step: int) -> np.ndarray:
    """Undoes the filters of the scanlines (PNG specification, 9.2): uint8 [H, row_bytes]."""
    rows = np.zeros((height + 1, row_bytes + step), np.uint8)  # with zeros above and to the left
    for y in range(1, height + 1):
        start = (y - 1) * (row_bytes + 1)
        kind = lines[start]
        for x in range(step, row_bytes + step):
            left, above, corner = int(rows[y, x - step]), int(rows[y - 1, x]), int(rows[y - 1, x - step])
            predicted = (0, left, above, (left + above) // 2, _paeth(left, above, corner))[kind]
            rows[y, x] = (lines[start + 1 + x - step] + predicted) & 255
    return np.ascontiguousarray(rows[1:, step:])


def _paeth(left: int, above: int, corner: int) -> int:
    """Whichever is nearest to left + above - corner; the first of equals (PNG specification, 9.4)."""
    distances = [(abs(above - corner), left), (abs(left - corner), above), (abs(left + above - 2 * corner), corner)]
    return min(distances, key=lambda pair: pair[0])[1]
