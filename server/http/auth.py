"""API keys: `Authorization: Bearer KEY` on every route but those that tell whether the server lives."""

import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from llava_interleave_serve.server.errors import Unauthorized, response

OPEN_PATHS = frozenset({"/health", "/ready"})


class KeyMiddleware:
    """Refuses requests without one of the keys before anything of them is read. Compares in constant time."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...]) -> None:
        self._app = app
        self._digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._knows(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthorized("this server needs an API key: send the header 'Authorization: Bearer KEY'")
        await response(error)(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        """Whether one of the keys came; which one is kept, as its digest, in the request's state."""
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        sent = _digest(key.strip())
        # No early exit: how long this takes does not tell which key was close.
        matches = [hmac.compare_digest(sent, digest) for digest in self._digests]
        scope.setdefault("state", {})["key"] = sent.hex()
        return scheme.lower() == "bearer" and any(matches)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
