"""API keys: `Authorization: Bearer KEY` on every route but the health checks and what may be read without one."""

import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from llava_interleave_serve.server.errors import Unauthorized
from llava_interleave_serve.server.http.error_responses import error_response

OPEN_PATHS = frozenset({"/health", "/ready", "/ping"})


class KeyMiddleware:
    """Refuses requests without one of the keys before anything of their bodies is read. Compares in constant time.

    readable: paths that GET needs no key for.
    """

    def __init__(self, app: ASGIApp, keys: tuple[str, ...], readable: frozenset[str] = frozenset()) -> None:
        self._app, self._readable = app, readable
        self._digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope) or self._has_key(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthorized(
            "the API key is none of this server's"
            if _bearer_key(scope)
            else "this server needs an API key: send the header 'Authorization: Bearer KEY'"
        )
        await error_response(error)(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        return path in OPEN_PATHS or (path in self._readable and scope["method"] == "GET")

    def _has_key(self, scope: Scope) -> bool:
        """True if the request has one of the keys, whose digest is then kept in the request's state as `key`."""
        key = _bearer_key(scope)
        digest = _digest(key or "")
        # No early exit: the time that this takes does not depend on which key was close.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        scope.setdefault("state", {})["key"] = digest.hex()
        return key is not None and any(matches)


def _bearer_key(scope: Scope) -> str | None:
    """The key that the request sends; None without an Authorization header of the scheme Bearer."""
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
