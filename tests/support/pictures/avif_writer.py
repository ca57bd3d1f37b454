"""Writes AVIF files of any items, from AV1 data that Pillow's encoder made."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from tests.support.image_files import encode


@dataclass
class Item:
    """An item of a file.

    Attributes:
        kind: its type.
        size: the width and height in its properties.
        content: its data.
        properties: further property boxes.
        copies: how often its place is listed, so that the data is read as often.
        references: kind of reference and numbers of the items, which are counted from one.

    """

    kind: bytes
    size: tuple[int, int]
    content: bytes
    properties: list[bytes] = field(default_factory=list)
    copies: int = 1
    references: tuple[bytes, list[int]] | None = None


def box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I", 8 + len(content)) + kind + content


def full_box(kind: bytes, *contents: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *contents)


def color_item(image: Image.Image) -> Item:
    """An item of a picture, as Pillow encodes it."""
    data = encode(image, "AVIF", quality=90, subsampling="4:4:4", speed=10)
    start = data.index(b"av1C") - 4
    return Item(b"av01", image.size, data[data.index(b"mdat") + 4 :], [data[start : start + 12]])


def grid_item(rows: int, columns: int, size: tuple[int, int], first_tile: int = 2) -> Item:
    """An item that puts tiles together, row by row, and cuts them to a size."""
    content = bytes([0, 0, rows - 1, columns - 1]) + struct.pack(">HH", *size)
    return Item(b"grid", size, content, references=(b"dimg", list(range(first_tile, first_tile + rows * columns))))


def write(items: Sequence[Item], brand: bytes = b"avif") -> bytes:
    """Returns a file whose primary item is the first."""
    ftyp = box(b"ftyp", brand, bytes(4), b"avifmif1miaf")
    meta = _meta(items, 0)
    return ftyp + _meta(items, len(ftyp) + len(meta) + 8) + box(b"mdat", *[item.content for item in items])


def _meta(items: Sequence[Item], data_start: int) -> bytes:
    places, entries, properties, associations, references = b"", b"", b"", b"", b""
    index = 0
    for number, item in enumerate(items, 1):
        extent = struct.pack(">II", data_start, len(item.content))
        places += struct.pack(">HHH", number, 0, item.copies) + extent * item.copies
        data_start += len(item.content)
        entries += full_box(b"infe", struct.pack(">HH", number, 0), item.kind, b"\0", version=2)
        own = [full_box(b"ispe", struct.pack(">II", *item.size)), *item.properties]
        properties += b"".join(own)
        associations += struct.pack(f">HB{len(own)}H", number, len(own), *range(index + 1, index + 1 + len(own)))
        index += len(own)
        if item.references is not None:
            kind, numbers = item.references
            references += box(kind, struct.pack(f">HH{len(numbers)}H", number, len(numbers), *numbers))
    return full_box(
        b"meta",
        full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
        full_box(b"pitm", struct.pack(">H", 1)),
        full_box(b"iloc", b"\x44\0", struct.pack(">H", len(items)), places),
        full_box(b"iinf", struct.pack(">H", len(items)), entries),
        box(b"iprp", box(b"ipco", properties), full_box(b"ipma", struct.pack(">I", len(items)), associations, flags=1)),
        full_box(b"iref", references) if references else b"",
    )
