"""A key for Ray Serve's proxy by which requests about the same medium meet the same replica.

Ray's proxies run it with RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH set to this module's `middlewares`. In HAProxy mode
(RAY_SERVE_ENABLE_HA_PROXY) Ray has no such proxy, and clients that want their replica back send X-Session-ID.
"""

import hashlib
import re

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-session-id"  # which Ray's ConsistentHashRouter reads
URL = re.compile(rb'"url"\s*:\s*"')
MOST_BYTES = 70_000_000  # of a body that is looked into, as Envoy's configuration has it


def key_of(body: bytes | bytearray) -> bytes | None:
    """A digest of the first `"url"` of a request's body; None without one."""
    match = URL.search(body)
    if match is None:
        return None
    end = body.find(b'"', match.end())
    url = memoryview(body)[match.end() : end if end >= 0 else len(body)]
    digest = hashlib.blake2b(url, digest_size=12).hexdigest()
    url.release()
    return f"medium-{digest}".encode()


class MediumAffinity:
    """Adds the header to requests that have a body without it; they are passed on once their body has come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_key = scope["type"] != "http" or scope["method"] != "POST" or HEADER in dict(scope["headers"])
        if has_key:
            await self._app(scope, receive, send)
            return
        messages: list[Message] = []
        body = bytearray()
        while True:
            message = await receive()
            messages.append(message)
            body += message.get("body", b"")
            if message["type"] != "http.request" or not message.get("more_body") or len(body) > MOST_BYTES:
                break
        key = key_of(body)
        del body
        if key is not None:
            scope = dict(scope, headers=[*scope["headers"], (HEADER, key)])
        messages.reverse()

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)


def middlewares() -> list[Middleware]:
    """What Ray's proxies run before a request."""
    return [Middleware(MediumAffinity)]
