"""The JSON body of a request, read within its limits."""

import asyncio
import codecs
import io
from collections.abc import Callable
from typing import Any, TypeVar

import jiter
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
# A body of n bytes is held twice while it is decoded, and five times if one character of its long texts is wide: Python
# stores a text at the width of its widest. So few are decoded at once; 64 MiB take some 0.2 s.
DECODING_THREADS = 2
VALUE_MARKS = (b",", b"[", b"{")  # each JSON value stands behind one of these, but for the values of an object's keys


def announced_size(headers: Headers) -> int:
    """Bytes of the body by its Content-Length; 0 without one."""
    announced = headers.get("content-length", "")
    return int(announced) if announced.isdigit() else 0


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
        SlowBody when none come for `read_timeout` or, `read_timeout` aside, fewer than `min_body_rate` a second,
        LimitExceeded for more JSON values than allowed, EncodedBody for a compressed body, RequestError for a body that
        is not JSON or has a key twice.
        """
        body = await _read(request, self._limits, reservation)
        if len(body) > BYTES_ON_LOOP:
            return await self._threads.run(requester, _decode, body, self._limits, validate)
        return _decode(body, self._limits, validate)


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
    now = asyncio.get_running_loop().time
    started = now()
    idle_until = started + limits.read_timeout
    try:
        async with asyncio.timeout(limits.read_timeout) as patience:
            async for chunk in request.stream():
                size += body.write(chunk)
                if size > most:
                    raise too_large
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


def _decode(body: bytes, limits: Limits, validate: Callable[[Any], T]) -> T:
    # Decoded JSON takes up to 25 times its bytes, in values of few bytes each. Marks in texts count, since telling them
    # apart would cost as much as decoding; a text of so many commas is longer than any context.
    most = limits.max_json_values
    if sum(map(body.count, VALUE_MARKS)) > most:
        raise LimitExceeded(f"by its commas and opening brackets the body has more than the {most} JSON values allowed")
    return validate(parse_json(body))


def parse_json(body: bytes) -> Any:
    """The decoded JSON, with or without a byte order mark. Raises RequestError for no JSON, or a key twice."""
    try:
        # pydantic's own parser; unlike the standard library's it reports keys that come twice.
        return jiter.from_json(body.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {str(error)[:200]}") from None
