"""From a data URL to bytes."""

import binascii

import pybase64

from llava_interleave_serve.server.errors import FetchError, LimitExceeded

SCHEME = "data:"


def is_data(url: str) -> bool:
    return url[: len(SCHEME)].lower() == SCHEME


def unpack(url: str, kind: str, most: int) -> bytes:
    """The bytes of a data URL, at most `most`.

    kind: `image` or `video`, which its media type must be of, if it has one.
    Raises FetchError or LimitExceeded of the option `url`.
    """
    header, comma, payload = url.partition(",")
    media_type, *settings = header[len(SCHEME) :].split(";")
    if not comma or "base64" not in settings:
        raise FetchError(f"a data URL must read data:{kind}/...;base64,...", param="url")
    if media_type and not media_type.lower().startswith((f"{kind}/", "application/octet-stream")):
        raise FetchError(f"the data URL must be of a type {kind}/..., not {media_type[:40]!r}", param="url")
    if len(payload) // 4 * 3 - payload[-2:].count("=") > most:
        raise LimitExceeded(f"the file is larger than {most} bytes", param="url")
    try:
        return pybase64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise FetchError("the data URL is not valid base64", param="url") from None
