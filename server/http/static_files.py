"""Files that the server shows to browsers: its own page, and those of the pages about its interface."""

import hashlib
from pathlib import Path

from fastapi.responses import Response
from starlette.datastructures import Headers

# By suffix, and not by the machine's own table, which may lack them: browsers run no module of another type.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webm": "video/webm",
}
# What every page may do: nothing of other servers, no frames, and no script or style outside files.
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "media-src": "blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Cache-Control": "no-cache",  # asked for again each time, and answered with 304 while it is the same
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def policy(**changes: str) -> str:
    """A Content-Security-Policy: POLICY with further or other directives, whose hyphens are underscores here."""
    directives = POLICY | {name.replace("_", "-"): value for name, value in changes.items()}
    return "; ".join(f"{name} {value}" for name, value in directives.items())


class _File:
    """A file in memory. tag: its entity tag (RFC 9110, 8.8.3), with quotes."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self.content, self.media_type = content, media_type
        self.tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'


class StaticFiles:
    """The files of a folder that have a known type, in memory: a request reads no path of the file system.

    folder: read with its sub-folders, once. policy: the Content-Security-Policy of its responses.
    """

    def __init__(self, folder: Path, policy: str) -> None:
        self._policy = policy
        self._files = {
            file.relative_to(folder).as_posix(): _File(file.read_bytes(), MEDIA_TYPES[file.suffix])
            for file in sorted(folder.rglob("*"))
            if file.suffix in MEDIA_TYPES
        }

    @property
    def names(self) -> list[str]:
        """Paths of the files below the folder."""
        return list(self._files)

    def response(self, name: str, headers: Headers) -> Response | None:
        """The response to a request of these headers for a file; None if there is none of this name."""
        if name not in self._files:
            return None
        file = self._files[name]
        kept = HEADERS | {"ETag": file.tag, "Content-Security-Policy": self._policy}
        if file.tag in headers.get("if-none-match", ""):
            return Response(status_code=304, headers=kept)
        return Response(file.content, media_type=file.media_type, headers=kept)
