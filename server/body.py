"""The JSON body of a request, read within its limits."""

import asyncio
from typing import Any

import jiter
from fastapi import Request
from starlette.datastructures import Headers

from llava_interleave_serve.server.admission import Reservation
from llava_interleave_serve.server.errors import BodyTooLarge, RequestError, SlowBody
from llava_interleave_serve.server.limits import Limits


def announced_size(headers: Headers) -> int:
    """Bytes of the body by its Content-Length; 0 without one."""
    announced = headers.get("content-length", "")
    return int(announced) if announced.isdigit() else 0


async def read_json(request: Request, limits: Limits, reservation: Reservation) -> Any:
    """The decoded body. Bytes beyond those announced are added to the reservation as they come.

    Raises BodyTooLarge as soon as more bytes than allowed are announced or have come, SlowBody when none come for
    `read_timeout`, RequestError for a body that is not JSON or has a key twice.
    """
    most = limits.max_body_bytes
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise RequestError(f"the Content-Type must be application/json, not {content_type[:80]!r}")
    announced = announced_size(request.headers)
    too_large = BodyTooLarge(f"the body is larger than the {most} bytes allowed")
    if announced > most:
        raise too_large
    body = bytearray()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limits.read_timeout) as idle:
            async for chunk in request.stream():
                idle.reschedule(loop.time() + limits.read_timeout)
                body += chunk
                if len(body) > most:
                    raise too_large
                if len(body) > reservation.load.bytes:
                    reservation.grow(bytes=len(body) - reservation.load.bytes)
    except TimeoutError:
        raise SlowBody(f"nothing of the body came for {limits.read_timeout:g} s") from None
    return parse_json(bytes(body))


def parse_json(body: bytes) -> Any:
    """The decoded JSON. Raises RequestError for what is not JSON, or has a key twice."""
    try:
        # pydantic's own parser; unlike the standard library's it reports keys that come twice.
        return jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {str(error)[:200]}") from None
