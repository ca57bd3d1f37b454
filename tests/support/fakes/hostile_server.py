"""A media host that breaks HTTP in the way that the requested path names."""

import contextlib
import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "HostileServer"

    def do_GET(self) -> None:
        self.server.requested_paths.append(self.path)
        name, _, argument = self.path.strip("/").partition("/")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, f"respond_{name}")(argument)

    def respond_bytes(self, size: str) -> None:
        self._send(b"x" * int(size.partition("?")[0]))

    def respond_status(self, status: str) -> None:
        self._send(b"no", status=int(status))

    def respond_redirect(self, times: str) -> None:
        target = f"/redirect/{int(times) - 1}" if int(times) > 1 else "/bytes/7"
        self._send(b"", 302, {"Location": target})

    def respond_elsewhere(self, url: str) -> None:
        self._send(b"", 302, {"Location": url})

    def respond_loop(self, argument: str) -> None:
        self._send(b"", 302, {"Location": self.path})

    def respond_nowhere(self, argument: str) -> None:
        self._send(b"", 302)

    def respond_content(self, name: str) -> None:
        """Sends one of the server's `contents` with a media type that is not its own."""
        self._send(self.server.contents[name.partition("?")[0]], headers={"Content-Type": "text/html"})

    def respond_gzip(self, argument: str) -> None:
        self._send(gzip.compress(b"x" * 1_000_000), headers={"Content-Encoding": "gzip"})

    def respond_endless(self, argument: str) -> None:
        self._head(200, {"Transfer-Encoding": "chunked"})
        for _ in range(100_000):
            self.wfile.write(b"400\r\n" + b"x" * 1024 + b"\r\n")

    def respond_slow(self, argument: str) -> None:
        self._head(200, {"Content-Length": "100"})
        for _ in range(100):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.1)

    def respond_short(self, argument: str) -> None:
        self._head(200, {"Content-Length": "1000"})
        self.wfile.write(b"x" * 10)
        self.close_connection = True

    def respond_long(self, argument: str) -> None:
        self._head(200, {"Content-Length": "10"})
        self.wfile.write(b"x" * 1000)
        self.close_connection = True

    def respond_length(self, length: str) -> None:
        self._head(200, {"Content-Length": length})
        self.close_connection = True

    def respond_interim(self, argument: str) -> None:
        for _ in range(1_000_000):
            self.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)

    def respond_headers(self, argument: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(1_000_000):
            self.wfile.write(b"X-%d: %s\r\n" % (number, b"x" * 1000))

    def respond_silent(self, argument: str) -> None:
        time.sleep(3)

    def respond_held(self, seconds: str) -> None:
        """Responds after a delay, and counts how many requests wait at once."""
        server = self.server
        with server.counting:
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        time.sleep(float(seconds.partition("?")[0]))
        with server.counting:
            server.at_once -= 1
        self._send(b"held")

    def respond_garbage(self, argument: str) -> None:
        self.wfile.write(b"\x00\x01 not http\r\n\r\n")
        self.close_connection = True

    def _send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._head(status, {"Content-Length": str(len(content))} | (headers or {}))
        self.wfile.write(content)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class HostileServer(ThreadingHTTPServer):
    """`asked`: the paths that it was asked for. , as Handler's `respond_` methods.

    contents: files by name, served as `/content/NAME`.
    """

    daemon_threads = True

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), Handler)
        self.requested_paths: list[str] = []
        self.contents: dict[str, bytes] = {}
        self.counting = threading.Lock()
        self.at_once = self.most_at_once = 0

    @property
    def port(self) -> int:
        return self.server_address[1]


@contextlib.contextmanager
def running(host: str = "127.0.0.1") -> Iterator[HostileServer]:
    server = HostileServer(host)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
