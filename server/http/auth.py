"""API keys: `Authorization: Bearer KEY` on every route but the health checks."""

import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from llava_interleave_serve.server.errors import Unauthorized
from llava_interleave_serve.server.http.error_responses import error_response

OPEN_PATHS = frozenset({"/health", "/ready"})


class KeyMiddleware:
    """Refuses requests without one of the keys before anything of their bodies is read. Compares in constant time."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...]) -> None:
        self._app = app
        self._digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._has_key(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthorized("this server needs an API key: send the header 'Authorization: Bearer KEY'")
        await error_response(error)(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        """True if the request has one of the keys, whose digest is then kept in the request's state as `key`."""
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        digest = _digest(key.strip())
        # No early exit: the time that this takes does not depend on which key was close.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        scope.setdefault("state", {})["key"] = digest.hex()
        return scheme.lower() == "bearer" and any(matches)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
