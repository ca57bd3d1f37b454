"""Guards against small JPEG files that take minutes to decode: too many progressive scans or Exif segments."""

import re

# A progressive JPEG is decoded by going over all of its pixels once a scan, and a scan may be 73 bytes long: at 48
# million pixels, 1 MB of scans takes minutes. Encoders write about ten.
MAX_SCANS = 100
# Pillow joins Exif segments one by one, which is quadratic: 64 MiB of them take half an hour. Cameras write one.
MAX_EXIF_SEGMENTS = 64
SCAN, END_OF_IMAGE, START_OF_IMAGE, TEMPORARY = 0xDA, 0xD9, 0xD8, 0x01
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # not a stuffed byte, a restart marker or padding


def has_too_many_exif_segments(data: bytes) -> bool:
    """True if a file is a JPEG with more than MAX_EXIF_SEGMENTS Exif segments."""
    return data[:2] == bytes([0xFF, START_OF_IMAGE]) and data.count(b"Exif\0\0") > MAX_EXIF_SEGMENTS


def has_too_many_scans(data: bytes) -> bool:
    """True if a progressive JPEG has more than MAX_SCANS scans."""
    # The two bytes of a scan's marker may also occur in a thumbnail or behind the image. Counting them is quick, and
    # only a file that has many is gone through segment by segment.
    return data.count(bytes([0xFF, SCAN])) > MAX_SCANS and _count_scans(data) > MAX_SCANS


def _count_scans(data: bytes) -> int:
    scans = position = 0
    while (match := _MARKER.search(data, position)) is not None:
        marker, position = match[1][0], match.end()
        if marker == END_OF_IMAGE:
            break
        scans += marker == SCAN
        if marker not in (START_OF_IMAGE, TEMPORARY):  # the markers that have no segment with a length
            position += int.from_bytes(data[position : position + 2], "big")
    return scans
