"""The JSON body of a request, read within its limits."""

import asyncio
import codecs
import io
from collections.abc import Callable
from typing import Any, TypeVar

import jiter
import numpy as np
from fastapi import Request
from starlette.datastructures import Headers

from llava_interleave_serve.server.admission import Reservation
from llava_interleave_serve.server.errors import BodyTooLarge, EncodedBody, LimitExceeded, RequestError, SlowBody
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.fair_threads import FairThreads
from llava_interleave_serve.server.media.requester import Requester

T = TypeVar("T")
ADVANCE = 1 << 20  # most bytes that a body has reserved before they have come
BYTES_ON_LOOP = 256 * 1024  # a body up to this size is decoded in milliseconds, whatever it holds
# The decoder holds the interpreter's lock, so that two would only keep the event loop from it twice as long. A body of
# n bytes is held twice meanwhile, and five times if one character of a long text is wide: Python stores a text at the
# width of its widest. 64 MiB take some 40 ms, or 150 ms if they are all escapes.
DECODING_THREADS = 1
DATA_URL = b'"data:'  # as clients write it; otherwise written URLs count as text
MOST_DATA_URLS = 1000  # that are told from text in a body, if no more visuals are allowed


def announced_size(headers: Headers) -> int:
    """Bytes of the body by its Content-Length; 0 without one."""
    announced = headers.get("content-length", "")
    return int(announced) if announced.isdigit() else 0


class BodyCount:
    """Counts what costs more than bytes do in a body, piece by piece as the body comes: its values and its text.

    Decoded JSON takes up to 25 times its bytes, in values of few bytes each. Text is tokenised, and where it is written
    in escapes its decoding takes four times as long as a data URL's.

    Text is all but the data URLs, from DATA_URL to the next quote. In valid JSON these bytes lie within one string, so
    that no value hides there; the decoder makes nothing of what stands behind a fault.

    Attributes:
        text: bytes outside of data URLs.
        values: marks of values in them.

    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.text = self.values = self._urls = 0
        self._most_urls = max(MOST_DATA_URLS, limits.max_visuals)
        self._in_url = False
        self._held = b""  # the end of the last piece, if a DATA_URL may begin there

    def add(self, piece: bytes) -> None:
        """Counts the next piece. Raises LimitExceeded as soon as there is more text, or more values, than allowed."""
        piece, self._held, start = self._held + piece, b"", 0
        while start < len(piece):
            if self._in_url:
                if (end := piece.find(b'"', start)) < 0:
                    return
                self._in_url, start = False, end
                continue
            end = piece.find(DATA_URL, start) if self._urls < self._most_urls else -1
            if end < 0:
                cut = len(piece) - _common_length(piece, start)
                self._count(piece, start, cut)
                self._held = piece[cut:]
                return
            self._count(piece, start, start := end + len(DATA_URL))
            self._in_url, self._urls = True, self._urls + 1

    def _count(self, piece: bytes, start: int, end: int) -> None:
        self.text += end - start
        # Each value stands behind a comma, "[" or "{", but for those of an object's keys. Marks in texts count, since
        # telling them apart would cost as much as decoding; a text of so many commas is longer than any context.
        characters = np.frombuffer(memoryview(piece)[start:end], np.uint8)  # a sixth of the time of bytes.count
        brackets = (characters | 0x20) == ord("{")  # of both kinds, which this bit tells apart
        self.values += int(np.count_nonzero(characters == ord(",")) + np.count_nonzero(brackets))
        if self.values > (most := self._limits.max_json_values):
            raise LimitExceeded(
                f"by its commas and opening brackets the body has more than the {most} JSON values allowed"
            )
        if self.text > (most := self._limits.max_text_bytes):
            raise LimitExceeded(f"the body has more than the {most} bytes allowed outside of its data URLs")


def _common_length(piece: bytes, start: int) -> int:
    """Bytes at the end of the piece, behind `start`, with which a DATA_URL may begin."""
    longest = min(len(DATA_URL) - 1, len(piece) - start)
    return next((length for length in range(longest, 0, -1) if piece.endswith(DATA_URL[:length])), 0)


class BodyReader:
    """Reads the bodies of requests within these limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._threads = FairThreads("json", DECODING_THREADS)

    def close(self) -> None:
        self._threads.close()

    async def read_json(
        self, request: Request, reservation: Reservation, requester: Requester, validate: Callable[[Any], T]
    ) -> T:
        """The decoded body, validated. Its bytes are added to the reservation as they come, ADVANCE ahead if announced.

        A large body is decoded and validated in a thread, so that nobody else waits for it. validate: takes the decoded
        JSON, may raise RequestError. Raises BodyTooLarge as soon as more bytes than allowed are announced or have come,
        LimitExceeded as soon as more text or JSON values than allowed have come, SlowBody when no bytes come for
        `read_timeout` or, `read_timeout` aside, fewer than `min_body_rate` a second, EncodedBody for a compressed body,
        RequestError for a body that is not JSON or has a key twice.
        """
        body = await _read(request, self._limits, reservation)
        if len(body) > BYTES_ON_LOOP:
            return await self._threads.run(requester, _decode, body, validate)
        return _decode(body, validate)


async def _read(request: Request, limits: Limits, reservation: Reservation) -> bytes:
    most = limits.max_body_bytes
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise RequestError(f"the Content-Type must be application/json, not {content_type[:80]!r}")
    if (encoding := request.headers.get("content-encoding", "identity").strip().lower()) not in ("", "identity"):
        raise EncodedBody(f"the body must be sent without a Content-Encoding, not in {encoding[:80]!r}")
    announced = announced_size(request.headers)
    too_large = BodyTooLarge(f"the body is larger than the {most} bytes allowed")
    if announced > most:
        raise too_large
    body, size = io.BytesIO(), 0  # which gives its bytes away without a copy
    count = BodyCount(limits)
    now = asyncio.get_running_loop().time
    started = now()
    idle_until = started + limits.read_timeout
    try:
        async with asyncio.timeout(limits.read_timeout) as patience:
            async for chunk in request.stream():
                size += body.write(chunk)
                if size > most:
                    raise too_large
                count.add(chunk)
                ahead = max(size, min(announced, size + ADVANCE))
                if size > reservation.load.bytes:
                    reservation.grow(bytes=ahead - reservation.load.bytes)
                idle_until = now() + limits.read_timeout
                rate_until = started + limits.read_timeout + size / limits.min_body_rate
                patience.reschedule(min(idle_until, rate_until))
    except TimeoutError:
        if now() < idle_until:
            raise SlowBody(f"the body came slower than {limits.min_body_rate} bytes a second") from None
        raise SlowBody(f"nothing of the body came for {limits.read_timeout:g} s") from None
    return body.getvalue()


def _decode(body: bytes, validate: Callable[[Any], T]) -> T:
    return validate(parse_json(body))


def parse_json(body: bytes) -> Any:
    """The decoded JSON, with or without a byte order mark. Raises RequestError for no JSON, or a key twice."""
    try:
        # pydantic's own parser; unlike the standard library's it reports keys that come twice.
        return jiter.from_json(body.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {str(error)[:200]}") from None
