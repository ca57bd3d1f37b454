"""Finds the pixels of a PNG's transparent colour, at the depth at which the file gives them.

Pillow scales samples of 1, 2 and 4 bits to 8, and cuts colours of 16, but not the colour that it compares them with.
"""

import io
import struct

import numpy as np
from PIL import Image

from llava_interleave_serve.server.media.image.png_guards import chunks

GREY, COLOUR, PALETTE = 0, 2, 3  # colour types; a palette has an alpha for each entry in place of a transparent colour
CHANNELS = {GREY: 1, COLOUR: 3}
PALETTE_ENTRIES = 256
HEADER_BYTES = 13
LOW_BYTES = "RGB;16L"  # Pillow's unpacker of the lower byte of each sample, where it takes the upper one


def find(image: Image.Image, data: bytes) -> np.ndarray | None:
    """Loads a PNG, and returns which pixels have its transparent colour: bool [H, W]; None if it has no such colour.

    Only the transparency of a palette stays in `image.info`, for Pillow. As the specification says, only the bits of
    the file's depth count, and a colour that is given behind the pixels is none.
    """
    depth, colour_type, content = _transparency(data)
    image.load()
    image.info.pop("transparency", None)
    if colour_type == PALETTE and content is not None:
        image.info["transparency"] = content[:PALETTE_ENTRIES]  # of which Pillow makes less if it ends in a newline
    count = CHANNELS.get(colour_type, 0)
    if content is None or not count or len(content) < 2 * count:
        return None
    values = [value & ((1 << depth) - 1) for value in struct.unpack_from(f">{count}H", content)]
    if depth == 16 and colour_type == COLOUR:
        upper = _is_colour(np.asarray(image), [value >> 8 for value in values])
        lower = _is_colour(_lower_bytes(data), [value & 255 for value in values])
        is_both: np.ndarray = upper & lower
        return is_both
    if depth < 8:
        image, values = image.convert("L"), [values[0] * 255 // ((1 << depth) - 1)]
    return _is_colour(np.atleast_3d(np.asarray(image)), values)


def _transparency(data: bytes) -> tuple[int, int, bytes | None]:
    """Returns the depth, the colour type and the content of the chunk of transparency, which is None without one."""
    depth = colour_type = 0
    for kind, start, end in chunks(data):
        if kind == b"IHDR" and end - start >= HEADER_BYTES:
            depth, colour_type = data[start + 8], data[start + 9]
        elif kind == b"tRNS":
            return depth, colour_type, data[start:end]
        elif kind == b"IDAT":
            break
    return depth, colour_type, None


def _lower_bytes(data: bytes) -> np.ndarray:
    """Decodes the lower byte of each sample of a PNG of 16 bits a colour: uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        image.tile = [tile._replace(args=LOW_BYTES) for tile in image.tile]
        pixels: np.ndarray = np.asarray(image)
    return pixels


def _is_colour(pixels: np.ndarray, values: list[int]) -> np.ndarray:
    """True for each pixel [H, W, C] with these samples: bool [H, W]."""
    same: np.ndarray = np.logical_and.reduce([pixels[..., channel] == value for channel, value in enumerate(values)])
    return same
