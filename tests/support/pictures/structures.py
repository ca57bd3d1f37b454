"""Takes picture files apart into the pieces of their format, and puts them together with right lengths and sums."""

import random
import struct
from collections.abc import Callable

from tests.support.pictures import jpeg_writer, png_reader

EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
MOST_BYTES = 2_000_000  # of a mutant
CONTAINERS = (b"meta", b"iprp", b"ipco", b"iinf", b"iref", b"moov", b"trak", b"mdia", b"minf", b"stbl")
Piece = tuple[bytes, bytes]  # a name and a content


def png_pieces(data: bytes) -> list[Piece]:
    pieces, position = [], len(png_reader.SIGNATURE)
    while position + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        pieces.append((kind, data[position + 8 : position + 8 + size]))
        position += size + 12
    return pieces


def png_file(pieces: list[Piece]) -> bytes:
    return png_reader.SIGNATURE + b"".join(png_reader.chunk(kind, content) for kind, content in pieces)


def jpeg_pieces(data: bytes) -> list[Piece]:
    """Segments, and the data of each scan under the name of nothing."""
    pieces, position = [], 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xD9:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        pieces.append((data[position + 1 : position + 2], data[position + 4 : end]))
        position = end
        if pieces[-1][0] == b"\xda":
            while end + 1 < len(data) and not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
            pieces.append((b"", data[position:end]))
            position = end
    return pieces


def jpeg_file(pieces: list[Piece]) -> bytes:
    segments = (jpeg_writer.segment(kind[0], content[:65_533]) if kind else content for kind, content in pieces)
    return jpeg_writer.START + b"".join(segments) + jpeg_writer.END


def box_pieces(data: bytes) -> list[Piece]:
    pieces, position = [], 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        pieces.append((kind, data[position + 8 : position + max(8, size)]))
        position += max(8, size)
    return pieces


def box_file(pieces: list[Piece]) -> bytes:
    return b"".join(struct.pack(">I", 8 + len(content)) + kind + content for kind, content in pieces)


def riff_pieces(data: bytes) -> list[Piece]:
    pieces, position = [], 12
    while position + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        pieces.append((kind, data[position + 8 : position + 8 + size]))
        position += 8 + size + size % 2
    return pieces


def riff_file(pieces: list[Piece]) -> bytes:
    content = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for kind, content in pieces
    )
    return b"RIFF" + struct.pack("<I", len(content)) + content


def mutant(rng: random.Random, files: list[bytes]) -> bytes:
    """Returns a copy of one of the files with some pieces changed, moved, repeated or taken from another."""
    data = rng.choice(files)
    if data.startswith(b"\x89PNG"):
        take_apart, put_together = png_pieces, png_file
    elif data.startswith(b"\xff\xd8"):
        take_apart, put_together = jpeg_pieces, jpeg_file
    elif data.startswith(b"RIFF"):
        take_apart, put_together = riff_pieces, riff_file
    elif data[4:8] == b"ftyp":
        take_apart, put_together = box_pieces, box_file
    else:
        return _edited(rng, data)
    pieces = take_apart(data)
    for _ in range(rng.randint(1, 4)):
        if pieces:
            _change(rng, pieces, take_apart, files)
    return put_together(pieces)[:MOST_BYTES]


def _change(
    rng: random.Random, pieces: list[Piece], take_apart: Callable[[bytes], list[Piece]], files: list[bytes]
) -> None:
    index = rng.randrange(len(pieces))
    kind, content = pieces[index]
    match rng.randrange(7):
        case 0:
            del pieces[index]
        case 1:
            pieces[index:index] = [pieces[index]] * rng.choice((1, 2, 50, 5000 if len(content) < 200 else 3))
        case 2:
            pieces.insert(rng.randrange(len(pieces)), pieces.pop(index))
        case 3:
            others = take_apart(rng.choice(files)) if rng.random() < 0.5 else pieces
            pieces.insert(rng.randrange(len(pieces) + 1), rng.choice(others or pieces))
        case 4:
            pieces[index] = (rng.choice(pieces)[0], content)
        case _ if kind in CONTAINERS:
            start = {b"meta": 4, b"iinf": 6, b"iref": 4}.get(kind, 0)
            inner = box_pieces(content[start:])
            if inner:
                _change(rng, inner, box_pieces, files)
            pieces[index] = (kind, content[:start] + box_file(inner))
        case _:
            pieces[index] = (kind, _edited(rng, content))


def _edited(rng: random.Random, content: bytes) -> bytes:
    """Overwrites some numbers by extreme or random ones, mostly near the beginning."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not data:
            break
        start = rng.randrange(min(len(data), rng.choice((16, 64, 1 << 20))))
        size = rng.choice((1, 1, 2, 4))
        number = rng.choice(EDGES) if rng.random() < 0.6 else rng.getrandbits(32)
        data[start : start + size] = (number & ((1 << 8 * size) - 1)).to_bytes(size, rng.choice(("big", "little")))
    return bytes(data)
