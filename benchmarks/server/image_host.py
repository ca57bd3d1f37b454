"""A host of pictures on loopback, in a process of its own: each path is answered with a picture that shows the path.

What is posted to it is thrown away.
"""

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from PIL import Image, ImageDraw

SIDE = 112  # pixels
LISTING = "/served"
SLOW = "/slow"  # a path that begins so is answered SLOW_SECONDS late
SLOW_SECONDS = 1.0
PIECE = 256 * 1024  # bytes of a body that are read at once


class Handler(BaseHTTPRequestHandler):
    """Answers a path with a PNG, and LISTING with a JSON list of the paths that have been requested."""

    protocol_version = "HTTP/1.1"
    served: set[str] = set()

    def do_GET(self) -> None:
        content, media_type = picture(self.path), "image/png"
        if self.path == LISTING:
            content, media_type = json.dumps(sorted(self.served)).encode(), "application/json"
        else:
            self.served.add(self.path)
            if self.path.startswith(SLOW):
                time.sleep(SLOW_SECONDS)
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client has left
            self.wfile.write(content)

    def do_POST(self) -> None:
        left, piece = int(self.headers["Content-Length"]), memoryview(bytearray(PIECE))
        while left > 0 and (size := self.rfile.readinto(piece[:left])):
            left -= size
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Logs nothing: it would be most of the work."""


def picture(text: str) -> bytes:
    """The PNG file of a picture that shows the text."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).text((2, 2), text, fill=(200, 0, 0))
    ImageDraw.Draw(image).ellipse((30, 40, 80, 90), fill=(220, 20, 20))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@dataclass(frozen=True)
class ImageHost:
    """A running host; `url` followed by any path is a picture."""

    url: str

    @property
    def served(self) -> set[str]:
        """The paths that have been requested."""
        return set(httpx.get(self.url + LISTING).json())


@contextlib.contextmanager
def running_host() -> Iterator[ImageHost]:
    """Starts a host on a free port and kills it in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llava_interleave_serve.benchmarks.server.image_host"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None  # noqa: S101 - because of stdout=PIPE
        yield ImageHost(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Prints the port, then serves until it is killed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
