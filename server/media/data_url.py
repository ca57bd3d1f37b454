"""Decodes data URLs as browsers do (Fetch standard, "data: URLs"; URL standard, "Percent-encoded bytes")."""

import binascii

import numpy as np
import pybase64

from llava_interleave_serve.server.errors import FetchError, LimitExceeded

SCHEME = "data:"
NOT_ASCII = "a data URL has only ASCII characters"
MAX_HEADER = 1024  # characters before the comma
GENERIC_TYPES = ("", "application/octet-stream", "binary/octet-stream")  # the last one is what S3 says of any file
FRAME_LIST = "video/jpeg"  # by which vLLM's clients send the frames of a video, each as base64, with commas between
AROUND_URL = "".join(map(chr, range(0x21)))  # control characters and spaces, which are no part of a URL
IN_URL = b"\t\n\r"  # are taken out of it
WHITE_SPACE = IN_URL + b"\f "  # is taken out of base64
_PIECE = 1 << 20  # bytes that are percent-decoded at once, so that what this needs stays small
_HEX = np.full(256, 255, np.uint8)  # the value of each hexadecimal digit
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_HEX[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)


def is_data_url(url: str) -> bool:
    return url.lstrip(AROUND_URL)[: len(SCHEME)].lower() == SCHEME


def decode_data_url(url: bytes, kind: str, max_bytes: int) -> bytes:
    """Decodes the content of a data URL, which is ASCII text.

    kind: `image` or `video`; a media type in the URL must begin with it, or be one of GENERIC_TYPES, since the content
    decides. Raises FetchError for a URL of another form, and LimitExceeded, before base64 is decoded, for more than
    `max_bytes`; both of `url`.
    """
    if not url.isascii():
        raise FetchError(NOT_ASCII, param="url")
    comma = url.find(b",", 0, MAX_HEADER)
    if comma < 0:
        raise FetchError(f"a data URL must read data:{kind}/...;base64,...", param="url")
    header = "".join(url[:comma].decode("ascii").split()).lower().lstrip(AROUND_URL).removeprefix(SCHEME)
    media_type, *parameters = header.split(";")
    if kind == "video" and media_type == FRAME_LIST:
        raise FetchError("the frames of a video are sent as a part of the type video_frames", param="url")
    if media_type not in GENERIC_TYPES and not media_type.startswith(f"{kind}/"):
        raise FetchError(f"the data URL must be of a type {kind}/..., not {media_type[:40]!r}", param="url")
    payload = memoryview(url)[comma + 1 :]  # not a copy
    if "base64" not in parameters:
        content = _decode_percent(bytes(payload))
        if len(content) > max_bytes:
            raise _too_large(max_bytes)
        return content
    if len(payload) // 4 * 3 - bytes(payload[-2:]).count(b"=") <= max_bytes:
        try:
            return pybase64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            pass  # not as encoders write it that break no lines
    return _decode_forgiving(bytes(payload), max_bytes)


def _decode_forgiving(payload: bytes, max_bytes: int) -> bytes:
    """Decodes base64 with or without padding, and with white space and percent-encoded bytes in it."""
    encoded = _decode_percent(payload).translate(None, WHITE_SPACE)
    if len(encoded) % 4 == 0:
        encoded = encoded.removesuffix(b"=").removesuffix(b"=")
    if len(encoded) * 3 // 4 > max_bytes:
        raise _too_large(max_bytes)
    try:
        if b"=" in encoded:
            raise ValueError("padding of another length")
        return pybase64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise FetchError("the data URL is not valid base64", param="url") from None


def _decode_percent(payload: bytes) -> bytes:
    """Returns the bytes of the part of a URL behind its comma, without its fragment."""
    content, _, _ = payload.rstrip(AROUND_URL.encode()).translate(None, IN_URL).partition(b"#")
    if b"%" not in content:
        return content
    pieces, start = [], 0
    while start < len(content):
        end = start + _PIECE
        sign = content.rfind(b"%", end - 2, end)  # whose digits are in the next piece
        end = end if sign < 0 else sign
        pieces.append(_decode_percent_piece(content[start:end]))
        start = end
    return b"".join(pieces)


def _decode_percent_piece(content: bytes) -> bytes:
    """Replaces each percent sign and the two hexadecimal digits behind it by the byte that they spell."""
    padded = np.frombuffer(content + b"\0\0", np.uint8)
    first, second = _HEX[padded[1:-1]], _HEX[padded[2:]]
    spells = (padded[:-2] == ord("%")) & (first < 16) & (second < 16)
    decoded = np.where(spells, first << 4 | second, padded[:-2])
    keep = np.ones(len(content) + 2, bool)
    keep[1:-1] &= ~spells
    keep[2:] &= ~spells
    kept: bytes = decoded[keep[:-2]].tobytes()
    return kept


def _too_large(max_bytes: int) -> LimitExceeded:
    return LimitExceeded(f"the file is larger than {max_bytes} bytes", param="url")
