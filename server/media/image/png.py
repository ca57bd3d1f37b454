"""Plain PNG files, several times faster than Pillow reads them; whatever is not plain and whole is left to Pillow."""

import ctypes
import struct

import numpy as np
from isal import igzip_lib, isal_zlib

from llava_interleave_serve.server.media.native import build

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # of PNG's colour types: grey, RGB, grey and alpha, RGBA
NOT_PLAIN = (b"tRNS", b"acTL")  # a transparent colour, an animation
MOST_CHUNKS = 16_384  # encoders write 8 KiB a chunk and more
HEADER_BYTES = 33  # with the first chunk
CHUNK_BYTES = 12  # of a chunk beside its content


def decode(data: bytes) -> np.ndarray | None:
    """The pixels of a PNG file of 8 bits a channel: uint8 [H, W, 1 to 4]. None if it is not plain, or damaged."""
    library = build.library()
    if library is None or data[:8] != SIGNATURE or data[12:16] != b"IHDR" or len(data) < HEADER_BYTES:
        return None
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", data[16:29])
    if (depth, compression, filtering, interlace) != (8, 0, 0, 0) or colour not in CHANNELS or not width * height:
        return None
    packed = _packed(data)
    if packed is None:
        return None
    channels = CHANNELS[colour]
    size = height * (1 + width * channels)
    inflate = isal_zlib.decompressobj()
    try:
        lines = inflate.decompress(packed, size + 1)
    except igzip_lib.IsalError:  # type: ignore[misc]  # its stubs know it as an instance
        return None
    if len(lines) != size or not inflate.eof:
        return None
    pixels = np.empty((height, width, channels), np.uint8)
    failed = library.unfilter(
        ctypes.c_char_p(lines), ctypes.c_long(height), ctypes.c_long(width), ctypes.c_int(channels),
        ctypes.c_char_p(bytes(width * channels)), ctypes.c_void_p(pixels.ctypes.data),
    )  # fmt: skip
    return None if failed else pixels


def _packed(data: bytes) -> bytes | None:
    """The compressed lines: the contents of the IDAT chunks, which follow one another."""
    pieces: list[memoryview] = []
    view, at = memoryview(data), len(SIGNATURE)
    for _ in range(MOST_CHUNKS):
        if at + CHUNK_BYTES > len(data):
            return None
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return b"".join(pieces)
        if kind == b"IDAT":
            pieces.append(view[at + 8 : at + 8 + size])
        elif pieces or kind in NOT_PLAIN:  # what comes behind the picture may say how it is to be turned
            return None
        at += size + CHUNK_BYTES
    return None
