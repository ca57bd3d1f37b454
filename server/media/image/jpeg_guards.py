"""What a JPEG may hold, looked at before it is decoded: small files whose decoding takes minutes are no pictures."""

import re

# Decoding goes over all pixels once a scan, and 73 bytes are a scan: at 48 million pixels 1 MB of them takes minutes.
# Encoders write about ten.
MOST_SCANS = 100
# Pillow joins them one by one, which is quadratic: 64 MiB of them take half an hour. Cameras write one a picture.
MOST_EXIF_SEGMENTS = 64
SCAN, END, START, TEMPORARY = 0xDA, 0xD9, 0xD8, 0x01
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")


def is_segmented_too_much(data: bytes) -> bool:
    """Whether a file is a JPEG with more Exif segments than it may have."""
    return data[:2] == bytes([0xFF, START]) and data.count(b"Exif\0\0") > MOST_EXIF_SEGMENTS


def is_scanned_too_often(data: bytes) -> bool:
    """Whether a progressive JPEG has more scans than it may have."""
    # What looks like the marker of a scan may also stand in a thumbnail, or in what follows the picture.
    return data.count(bytes([0xFF, SCAN])) > MOST_SCANS and _scans(data) > MOST_SCANS


def _scans(data: bytes) -> int:
    scans = at = 0
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = found[1][0], found.end()
        if marker == END:
            break
        scans += marker == SCAN
        if marker not in (START, TEMPORARY):
            at += int.from_bytes(data[at : at + 2], "big")
    return scans
