"""Reading a request's JSON body, within its limit."""

from typing import Any

import pydantic_core
from fastapi import Request
from starlette.requests import ClientDisconnect

from llava_interleave_serve.server.errors import BodyTooLarge, RequestError


async def read_json(request: Request, most: int) -> Any:
    """The decoded body. Raises BodyTooLarge as soon as more than `most` bytes are announced or have come, RequestError
    for what is not JSON, or not whole.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise RequestError(f"the Content-Type must be application/json, not {content_type[:80]!r}")
    announced = request.headers.get("content-length", "")
    too_large = BodyTooLarge(f"the body is larger than the {most} bytes allowed")
    if announced.isdigit() and int(announced) > most:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise too_large
    except ClientDisconnect:
        raise RequestError("the client left before its body was whole") from None
    try:
        return pydantic_core.from_json(bytes(body), allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {error}") from None
