"""Guards against small JPEG files that take seconds to hours: countless scans, segments, tables or padding.

libjpeg goes over all pixels of a file once a scan, however short the scan is, and Pillow reads what stands before the
first scan byte by byte in Python. Both are bounded here before either begins. The walk over the segments is libjpeg's
own (jdmarker.c): what libjpeg would read as a marker is one here.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.media.image.refusals import damaged

# A scan of 9 bytes without data costs what any other does: 75 ms at 49 million pixels.
MAX_SCANS = 100
USUAL_SCANS = 20  # libjpeg writes 10 for colours and 18 for CMYK, mozjpeg about 15: allowed at any size
# More scans than usual are allowed as long as scans times pixels are at most so many times --max-pixels.
MAX_PASSES_OF_MOST_PIXELS = 4
MAX_SEGMENTS = 4096  # 64 MiB of metadata in segments of full length are 1,024
MAX_PADDING = 16_384  # bytes between the segments before the first scan, of which cameras leave a few
MOST_IN_HEADER = {
    "Exif segments": 64,  # Pillow joins them one by one, which is quadratic; cameras write one
    "Photoshop resources": 4096,  # Photoshop writes about 30
    "bytes of tables": 65_536,  # all possible ones take less than 4,096
}
SCAN, END_OF_IMAGE, EXIF, PHOTOSHOP, ADOBE, COMMENT = 0xDA, 0xD9, 0xE1, 0xED, 0xEE, 0xFE
ADOBE_BYTES = 14
METADATA = (*range(0xE0, 0xF0), COMMENT)
TABLES = (0xC4, 0xDB, 0xDC, 0xDD)  # Huffman and quantisation tables, the number of lines, the restart interval
PROGRESSIVE = 0xC2
FRAMES = (0xC0, 0xC1, PROGRESSIVE, 0xC3)  # of two kinds sequential, progressive, lossless
ARITHMETIC = (0xC9, 0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF)
HIERARCHICAL = (0xC5, 0xC6, 0xC7, 0xDE, 0xDF)
SAMPLE_BITS = 8
# Of the component that has the most blocks, each takes a bit at least: no code is shorter, and only blocks' higher
# frequencies can be left out. So a file of fewer bits than blocks is cut, however many scans it still has.
BLOCK_PIXELS = 64
_FRAME = struct.Struct(">2xBHHB")  # behind the length: bits of a sample, height, width, components
# Not a stuffed byte, a restart marker, padding or what is reserved: libjpeg passes over these without a length.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
_PIECE = 1 << 20  # bytes that are compared at once, so that the comparison stays in the CPU's cache


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What stands before the data of a JPEG's first scan.

    Attributes:
        end: offset of the length of the first scan's header.
        size: width and height of the frame.
        components: number of the frame's components.
        may_have_scans: True if libjpeg reads further scans, False if a second one is an error.

    """

    end: int
    size: tuple[int, int]
    components: int
    may_have_scans: bool


def check_header(data: bytes) -> JpegHeader | None:
    """Hops over the segments of a JPEG up to its first scan; None for another file.

    Raises LimitExceeded for more segments, padding, tables or metadata than the constants above allow, and MediaError
    for arithmetic coding, other samples than those of 8 bits, frames of a hierarchy, and segments that no decoder would
    take.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    frame, height, width, components, taken = None, 0, 0, 0, dict.fromkeys(MOST_IN_HEADER, 0)
    for marker, start, end in _segments(data):
        if marker == SCAN:
            in_scan = int.from_bytes(data[start + 2 : start + 3])
            return JpegHeader(start, (width, height), components, frame == PROGRESSIVE or in_scan < components)
        if marker in FRAMES:
            if frame is not None or start + _FRAME.size > len(data):
                break
            frame, (bits, height, width, components) = marker, _FRAME.unpack_from(data, start)
            if bits != SAMPLE_BITS:
                raise MediaError(f"the image is a JPEG of {bits} bits a sample, which is not supported", param="url")
        what, number = _taken_by_segment(data, marker, start, end)
        taken[what] += number
        if taken[what] > MOST_IN_HEADER[what]:
            raise LimitExceeded(f"the image has more than {MOST_IN_HEADER[what]} {what}", param="url")
    raise damaged()


def check_scans(data: bytes, header: JpegHeader, pixels: int, max_pixels: int) -> None:
    """Raises LimitExceeded for more scans than a JPEG of so many pixels may have, and MediaError for too few bytes."""
    if 8 * BLOCK_PIXELS * len(data) < pixels:
        raise damaged()
    most = min(MAX_SCANS, max(USUAL_SCANS, MAX_PASSES_OF_MOST_PIXELS * max_pixels // max(1, pixels)))
    # The two bytes of a scan's marker may also occur in a thumbnail or behind the image. Counting them is quick, and
    # only a file that has many is gone through segment by segment.
    if header.may_have_scans and _count_scan_bytes(data) > most and _count_scans(data, header.end, most) > most:
        raise LimitExceeded(f"the image has more than {most} scans, the most for its {pixels} pixels", param="url")


def without_metadata(data: bytes, kept: tuple[int, ...]) -> bytes:
    """Returns a JPEG without its segments of metadata but for those of the markers `kept`, if they are whole.

    Of Adobe's, which say how colours are stored, libjpeg passes over one that is shorter than ADOBE_BYTES.
    """
    pieces = [data[:2]]
    for marker, start, end in _segments(data):
        if marker == SCAN:
            pieces.append(data[start - 2 :])
            break
        if marker not in METADATA or (marker in kept and (marker != ADOBE or end - start >= ADOBE_BYTES)):
            pieces.append(data[start - 2 : end])
    return b"".join(pieces)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields the marker of each segment, and the offsets of its length and of its end, until there is none."""
    position, padding = 2, 0
    for _ in range(MAX_SEGMENTS):
        match = _MARKER.search(data, position, position + MAX_PADDING + 2)
        padding += (len(data) if match is None else match.start()) - position
        if padding > MAX_PADDING:
            raise LimitExceeded(f"the image has more than {MAX_PADDING} bytes between its segments", param="url")
        if match is None:
            return
        start = match.end()
        position = start + max(2, int.from_bytes(data[start : start + 2]))
        yield match[1][0], start, position
    raise LimitExceeded(f"the image has more than {MAX_SEGMENTS} segments", param="url")


def _taken_by_segment(data: bytes, marker: int, start: int, end: int) -> tuple[str, int]:
    """Returns a key of MOST_IN_HEADER and how much of it the segment takes.

    Raises MediaError for a segment that is neither metadata nor a table nor the header of a frame that is served.
    """
    if marker == PHOTOSHOP:
        return "Photoshop resources", data.count(b"8BIM", start, end)
    if marker in METADATA:
        return "Exif segments", int(marker == EXIF and data.startswith(b"Exif\0\0", start + 2))
    if marker in ARITHMETIC:
        raise MediaError("the image is a JPEG with arithmetic coding, which is not supported", param="url")
    if marker in HIERARCHICAL:
        raise MediaError("the image is a hierarchical JPEG, which is not supported", param="url")
    if marker not in FRAMES and marker not in TABLES:
        raise damaged()
    return "bytes of tables", end - start


def _count_scan_bytes(data: bytes) -> int:
    """Counts the places where the bytes of a scan's marker stand: bytes.count takes ten times as long."""
    content, found = np.frombuffer(data, np.uint8), 0
    for start in range(0, len(data), _PIECE):
        piece = content[start : start + _PIECE + 1]
        found += int(np.count_nonzero((piece[:-1] == 0xFF) & (piece[1:] == SCAN)))
    return found


def _count_scans(data: bytes, position: int, most: int) -> int:
    """Counts the scans up to the end of the image, or `most` and one."""
    scans = 1
    for _ in range(MAX_SEGMENTS):
        position += int.from_bytes(data[position : position + 2])
        match = _MARKER.search(data, position)
        if match is None or match[1][0] == END_OF_IMAGE or scans > most:
            return scans
        scans += match[1][0] == SCAN
        position = match.end()
    raise LimitExceeded(f"the image has more than {MAX_SEGMENTS} segments between its scans", param="url")
