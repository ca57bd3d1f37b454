"""Decodes data URLs (RFC 2397) with base64 content."""

import binascii

import pybase64

from llava_interleave_serve.server.errors import FetchError, LimitExceeded

SCHEME = "data:"


def is_data_url(url: str) -> bool:
    return url[: len(SCHEME)].lower() == SCHEME


def decode_data_url(url: str, kind: str, max_bytes: int) -> bytes:
    """Decodes the content of a data URL.

    kind: `image` or `video`; a media type in the URL must begin with it, or be application/octet-stream. Raises
    FetchError for a URL of another form, and LimitExceeded, before decoding, for more than `max_bytes`; both of `url`.
    """
    header, comma, payload = url.partition(",")
    media_type, *parameters = header[len(SCHEME) :].split(";")
    if not comma or "base64" not in parameters:
        raise FetchError(f"a data URL must read data:{kind}/...;base64,...", param="url")
    if media_type and not media_type.lower().startswith((f"{kind}/", "application/octet-stream")):
        raise FetchError(f"the data URL must be of a type {kind}/..., not {media_type[:40]!r}", param="url")
    if len(payload) // 4 * 3 - payload[-2:].count("=") > max_bytes:
        raise LimitExceeded(f"the file is larger than {max_bytes} bytes", param="url")
    try:
        return pybase64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise FetchError("the data URL is not valid base64", param="url") from None
