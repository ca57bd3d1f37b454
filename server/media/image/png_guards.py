"""Guards against PNG files whose chunks contradict each other, or are so many that reading them takes seconds."""

import struct
from collections import Counter
from collections.abc import Iterator

from llava_interleave_serve.server.errors import LimitExceeded, MediaError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 16_384  # encoders write 8 KiB a chunk and more; Pillow reads them one by one in Python
CHUNK_OVERHEAD = 12  # bytes of a chunk's length, type and checksum
# Pillow inflates each of these to 1 MiB, which takes milliseconds, and counts only those that have a name.
COMPRESSED_CHUNKS = (b"iCCP", b"zTXt", b"iTXt")
MAX_COMPRESSED_CHUNKS = 64
# Two of these leave it to each decoder which of them counts: the size that is checked may not be that of the pixels.
SINGLE_CHUNKS = (b"IHDR", b"PLTE")


def check_chunks(data: bytes) -> None:
    """Hops over the chunks of a PNG up to its end; does nothing with another file.

    Raises LimitExceeded for more than MAX_CHUNKS, or MAX_COMPRESSED_CHUNKS beside the pixels', and MediaError for a
    second one of SINGLE_CHUNKS.
    """
    if not data.startswith(SIGNATURE):
        return
    kinds = Counter(kind for kind, _, _ in chunks(data))
    if sum(kinds[kind] for kind in COMPRESSED_CHUNKS) > MAX_COMPRESSED_CHUNKS:
        raise LimitExceeded(
            f"the image has more than {MAX_COMPRESSED_CHUNKS} chunks of text and colour profiles", param="url"
        )
    for kind in SINGLE_CHUNKS:
        if kinds[kind] > 1:
            raise MediaError(f"the image has more than one {kind.decode()} chunk", param="url")


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields the type of each chunk up to the end, and where its content starts and ends.

    Raises LimitExceeded for more than MAX_CHUNKS.
    """
    position = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + CHUNK_OVERHEAD > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IEND":
            return
        yield kind, position + 8, position + 8 + size
        position += size + CHUNK_OVERHEAD
    raise LimitExceeded(f"the image has more than {MAX_CHUNKS} chunks", param="url")


def exif(data: bytes) -> bytes:
    """Returns a PNG's Exif data as Pillow has it once the picture is loaded; nothing if the file has none."""
    found = b""
    for kind, start, end in chunks(data):
        if kind == b"eXIf":
            found = b"Exif\0\0" + data[start:end]
    return found
