"""What every request passes before its route: its id, CORS, HEAD, and the answer to an unexpected error."""

import logging
import re
import uuid
from collections.abc import Callable

from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llava_interleave_serve.server.errors import ServeError
from llava_interleave_serve.server.observability.request_log import REQUEST_ID

logger = logging.getLogger("llava_interleave_serve")
REQUEST_ID_HEADER = "X-Request-Id"
VALID_ID = re.compile(r"[A-Za-z0-9_.:+=-]{1,128}")
METHODS = ("GET", "HEAD", "POST")
EXPOSED_HEADERS = (REQUEST_ID_HEADER, "Retry-After", "Server-Timing")


class RequestIds:
    """Gives each request an id, the client's X-Request-Id if it is valid, in its log lines and its response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = given if VALID_ID.fullmatch(given) else uuid.uuid4().hex
        REQUEST_ID.set(request_id)  # for good: uvicorn has a task for each request, and may log after this

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


class HeadRequests:
    """Answers HEAD as GET is answered, without the body (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app(dict(scope, method="GET"), receive, send_without_body)


class UnexpectedErrors:
    """Logs an exception that no handler knows, once, and answers with a 500 if no answer has begun.

    Inside the other middleware, so that this answer has the headers of others.
    """

    def __init__(self, app: ASGIApp, respond: Callable[[ServeError], Response]) -> None:
        self._app, self._respond = app, respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http":
                raise
            logger.exception("a request failed", exc_info=error)
            if not has_begun:
                fault = ServeError("something went wrong in the server; the request was not answered")
                await self._respond(fault)(scope, receive, send)


def cors(allowed_origins: tuple[str, ...]) -> Middleware:
    """Lets pages of these origins, or of all ("*"), send requests and read the answers, errors too.

    No cookies are sent with them: a key is in a header that the page sets.
    """
    return Middleware(
        CORSMiddleware,
        allow_origins=allowed_origins,
        allow_methods=METHODS,
        allow_headers=("*",),
        expose_headers=EXPOSED_HEADERS,
    )
