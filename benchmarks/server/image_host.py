"""A host of pictures on loopback, in a process of its own: every path is a picture of its own."""

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from PIL import Image, ImageDraw

SIDE = 112
LISTING = "/served"
SLOW = "/slow"  # paths that begin so are answered late
SLOW_SECONDS = 1.0


class Handler(BaseHTTPRequestHandler):
    """Answers with a picture; LISTING with the paths that have been."""

    protocol_version = "HTTP/1.1"
    served: set[str] = set()

    def do_GET(self) -> None:
        content, kind = picture(self.path), "image/png"
        if self.path == LISTING:
            content, kind = json.dumps(sorted(self.served)).encode(), "application/json"
        else:
            self.served.add(self.path)
            if self.path.startswith(SLOW):
                time.sleep(SLOW_SECONDS)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who asked has left
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Nothing: it would be most of the work."""


def picture(name: str) -> bytes:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).text((2, 2), name, fill=(200, 0, 0))
    ImageDraw.Draw(image).ellipse((30, 40, 80, 90), fill=(220, 20, 20))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


class PicturesHost:
    """url: of the host. Its pictures are at any path."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def served(self) -> set[str]:
        """The paths that have been fetched."""
        return set(httpx.get(self.url + LISTING).json())


@contextlib.contextmanager
def running() -> Iterator[PicturesHost]:
    process = subprocess.Popen(
        [sys.executable, "-m", "llava_interleave_serve.benchmarks.server.image_host"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        yield PicturesHost(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
