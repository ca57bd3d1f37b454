"""API keys: `Authorization: Bearer KEY` on every route but the health checks."""

import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from llava_interleave_serve.server.errors import Unauthorized
from llava_interleave_serve.server.http.error_responses import error_response

OPEN_PATHS = frozenset({"/health", "/ready", "/ping"})


class KeyMiddleware:
    """Refuses requests without one of the keys before anything of their bodies is read. Compares in constant time."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...]) -> None:
        self._app = app
        self._digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._has_key(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthorized(
            "the API key is none of this server's"
            if _bearer_key(scope)
            else "this server needs an API key: send the header 'Authorization: Bearer KEY'"
        )
        await error_response(error)(scope, receive, send)

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
