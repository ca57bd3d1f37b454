"""Guards against AVIF files whose data is of more or larger frames than the file says, or read many times over.

libavif knows a picture's size from the boxes of the file, but decodes whatever its AV1 data holds: any number of frames
of up to 268 million pixels. Here the boxes are walked and the headers in the data read before libavif sees the file.
What is not as encoders write it is refused.
Source: ISO/IEC 14496-12 (boxes) and 23008-12 (items and their properties); AV1 Image File Format.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image import av1_headers
from llava_interleave_serve.server.media.image.refusals import damaged, is_avif, unidentified

MAX_BOXES = 2048  # in one box; a grid of 50 million pixels in tiles of 256 is 763 items, as many again with alpha
MAX_ENTRIES = 2048  # of a table: items, extents
MAX_PROPERTIES = 16_384  # of all items together, which have four to eight
MAX_OBUS = 64  # of an item: encoders write three or four
MAX_FRAMES = 4  # of an item: the layers of a picture that becomes sharper
# All frames together, of colour, alpha, previews and a gain map, may have so many times --max-pixels.
MAX_PASSES_OF_MOST_PIXELS = 3
# The data of all items may be so many times the file, and then some: equal tiles may share theirs.
MAX_COPIES, SHARED_BYTES = 2, 1 << 20
MAX_SIDE = 32_768  # libavif's own limit
IN_FILE, IN_META = 0, 1  # where an item's data is: iloc's construction method


@dataclass(slots=True)
class _Item:
    """An item of a file: a picture, a tile, an alpha plane, metadata.

    Attributes:
        kind: its type: `av01`, `grid`, `Exif`, ….
        sizes: the widths and heights in its properties; more than one is an error.
        place: IN_FILE or IN_META.
        extents: where its data starts, and its length, piece by piece.

    """

    kind: bytes = b""
    sizes: set[tuple[int, int]] = field(default_factory=set)
    place: int = IN_FILE
    extents: list[tuple[int, int]] = field(default_factory=list)


class _Reader:
    """Reads numbers of whole bytes, the highest first. Raises struct.error at the end."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data, self.position = data, 0

    def read(self, count: int) -> int:
        end = self.position + count
        if end > len(self.data):
            raise struct.error("the box ends early")
        number = int.from_bytes(self.data[self.position : end])
        self.position = end
        return number


def checked(data: bytes, limits: Limits) -> bytes:
    """Returns an AVIF file for libavif to decode; any other kind of file as it is.

    The copy says of itself that it holds a picture and no animation: of the two that an animated file holds, libavif
    then reads the picture, which shows the first frame, and none of the tables of the other's frames. Raises
    MediaError for a file that another decoder's brand says to be no AVIF, or whose boxes and data are not one picture,
    and LimitExceeded for too many frames, items or pixels.
    """
    if data[4:8] != b"ftyp":
        return data
    if not is_avif(data):
        raise unidentified(data)
    try:
        _check_items(data, limits)
    except (struct.error, av1_headers.Av1Error, KeyError, IndexError):
        raise damaged() from None
    end = int.from_bytes(data[:4])
    brands = data[12:end].replace(b"avis", b"avif")
    return data if brands == data[12:end] and data[8:12] == b"avif" else data[:8] + b"avif" + brands + data[end:]


def _check_items(data: bytes, limits: Limits) -> None:
    whole = memoryview(data)
    boxes = _single_boxes(whole)
    if b"meta" not in boxes and b"moov" in boxes:
        raise MediaError("the image is an AVIF without a still picture, which is not supported", param="url")
    parts = _single_boxes(boxes[b"meta"][4:])  # behind version and flags
    items = _items(parts)
    size = sum(length for item in items.values() for _, length in item.extents)
    if size > MAX_COPIES * len(data) + SHARED_BYTES:
        raise LimitExceeded("the image reads its data several times over", param="url")
    pixels = 0
    for item in items.values():
        for width, height in item.sizes:
            limits.check_size("the image has", width, height)
            if max(width, height) > MAX_SIDE:
                raise LimitExceeded(f"the image is an AVIF of more than {MAX_SIDE} pixels along a side", param="url")
        source = whole if item.place == IN_FILE else parts.get(b"idat", whole[:0])
        if item.kind == b"av01":
            pixels += _frame_pixels(item, source)
        elif item.kind == b"grid" and item.sizes != {_grid_size(_content(item, source))}:
            raise damaged()
    if pixels > MAX_PASSES_OF_MOST_PIXELS * limits.max_pixels:
        most = f"{MAX_PASSES_OF_MOST_PIXELS} times the {limits.max_pixels} allowed"
        raise LimitExceeded(f"the image has frames of {pixels} pixels together, more than {most}", param="url")


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yields the type and the content of each box."""
    position = 0
    for _ in range(MAX_BOXES):
        if position == len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if size == 0 else position + size
        if not start <= end <= len(data):
            raise struct.error("a box ends behind what it is in")
        yield kind, data[start:end]
        position = end
    raise LimitExceeded(f"the image has more than {MAX_BOXES} boxes", param="url")


def _single_boxes(data: memoryview) -> dict[bytes, memoryview]:
    """Returns the boxes by their type; of those that may repeat, the last."""
    found: dict[bytes, memoryview] = {}
    for kind, content in _boxes(data):
        if kind in found and kind in (b"ftyp", b"meta", b"iinf", b"iloc", b"iprp", b"idat", b"ipco"):
            raise struct.error("a box stands twice")
        found[kind] = content
    return found


def _items(parts: dict[bytes, memoryview]) -> dict[int, _Item]:
    """Returns the items by their number, with type, place and sizes."""
    items: dict[int, _Item] = {}
    reader = _Reader(parts[b"iinf"])
    version = reader.read(4) >> 24
    reader.read(4 if version else 2)
    for kind, content in _boxes(parts[b"iinf"][reader.position :]):
        entry = _Reader(content)
        version = entry.read(4) >> 24
        number = entry.read(4 if version == 3 else 2)
        entry.read(2)
        if kind != b"infe" or version not in (2, 3) or number in items:
            raise struct.error("not an item")
        items[number] = _Item(entry.read(4).to_bytes(4))
    _read_places(_Reader(parts[b"iloc"]), items)
    _read_sizes(parts[b"iprp"], items)
    return items


def _count(number: int, most: int = MAX_ENTRIES) -> int:
    if number > most:
        raise LimitExceeded(f"the image has a table of more than {most} entries", param="url")
    return number


def _read_places(reader: _Reader, items: dict[int, _Item]) -> None:
    """Reads from the box `iloc` where the data of each item is."""
    version = reader.read(4) >> 24
    sizes = reader.read(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    extents = 0
    for _ in range(_count(reader.read(4 if version == 2 else 2))):
        item = items.get(reader.read(4 if version == 2 else 2), _Item())  # libavif takes places of no item for nothing
        if version:
            item.place = reader.read(2) & 15
        reader.read(2)
        base = reader.read(base_bytes)
        count = reader.read(2)
        extents = _count(extents + count)
        if item.extents or item.place not in (IN_FILE, IN_META):
            raise struct.error("an item is in two places")
        for _ in range(count):
            reader.read(index_bytes if version else 0)
            item.extents.append((base + reader.read(offset_bytes), reader.read(length_bytes)))


def _read_sizes(properties: memoryview, items: dict[int, _Item]) -> None:
    """Reads from the box `iprp` which sizes each item has."""
    sizes: list[tuple[int, int] | None] = [None]  # properties are counted from one
    for kind, content in _boxes(_single_boxes(properties)[b"ipco"]):
        sizes.append(struct.unpack_from(">II", content, 4) if kind == b"ispe" else None)
    entries = associations = 0
    for kind, content in _boxes(properties):
        if kind != b"ipma":
            continue
        reader = _Reader(content)
        flags, number = reader.read(4), reader.read(4)
        entries = _count(entries + number)
        for _ in range(number):
            item = items.get(reader.read(4 if flags >> 24 else 2), _Item())
            count = reader.read(1)
            associations = _count(associations + count, MAX_PROPERTIES)
            for _ in range(count):
                index = reader.read(2) & 0x7FFF if flags & 1 else reader.read(1) & 0x7F
                size = sizes[index]
                if size is not None:
                    item.sizes.add(size)


def _content(item: _Item, source: memoryview) -> bytes:
    """Returns the data of an item."""
    pieces = [source[start : start + length] for start, length in item.extents]
    if any(len(piece) != length for piece, (_, length) in zip(pieces, item.extents, strict=True)):
        raise struct.error("the data of an item is missing")
    return b"".join(pieces)


def _grid_size(content: bytes) -> tuple[int, int]:
    """Returns the width and height of a picture that is put together from tiles."""
    width, height = struct.unpack_from(">II" if content[1] & 1 else ">HH", content, 4)
    return width, height


def _frame_pixels(item: _Item, source: memoryview) -> int:
    """Returns how many pixels the frames of an item have together; each must be of the item's own size."""
    pixels = 0
    for number, size in enumerate(av1_headers.frame_sizes(_content(item, source), MAX_OBUS), 1):
        if item.sizes != {size}:
            raise struct.error("a frame is of another size")
        if number > MAX_FRAMES:
            raise LimitExceeded(f"the image has more than {MAX_FRAMES} frames", param="url")
        pixels += size[0] * size[1]
    return pixels
