"""HTTP/1.1 as RFC 9110 and 9112 have it: upgrades that are not taken, Host, kept connections; unread answers."""

import contextlib
import http.client
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llava_interleave_serve.server import sse
from llava_interleave_serve.server.http import descriptors
from llava_interleave_serve.server.http.uvicorn_protocol import BoundedHttp
from llava_interleave_serve.server.limits import Limits
from tests.support import app_server
from tests.support.app_client import CHAT, HELLO, body
from tests.support.app_server import ServedApp

LIMITS = Limits(head_timeout=1.0, keep_alive_timeout=3.0, write_timeout=0.5)
BODY = json.dumps(HELLO).encode()
PATIENCE = 60.0  # seconds
OFFERS = {
    "h2c": ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"],
    "websocket": ["Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
    "TLS": ["Upgrade: TLS/1.0", "Connection: upgrade"],
    "two protocols": ["Upgrade: h2c", "Upgrade: websocket", "Connection: Upgrade"],
}


@pytest.fixture(scope="module")
def server() -> Iterator[ServedApp]:
    with app_server.in_thread(limits=LIMITS) as server:
        yield server


def connect(server: ServedApp) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def request(*headers: str, line: str = f"POST {CHAT} HTTP/1.1", content: bytes = BODY, chunked: bool = False) -> bytes:
    """A request; its body has a Content-Length, or comes in two chunks."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(content)}"
    if chunked:
        pieces = (content[:9], content[9:], b"")
        content = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    lines = [line, "Host: x", "Content-Type: application/json", *headers, framing, "", ""]
    return "\r\n".join(lines).encode() + content


def response(connection: socket.socket) -> tuple[int, bytes]:
    """The status and the body of the next response."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.read()


def seconds_until_closed(connection: socket.socket) -> float:
    started = time.monotonic()
    while connection.recv(1 << 16):
        pass
    return time.monotonic() - started


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestUpgrades:
    @pytest.mark.parametrize("protocol", OFFERS)
    @pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
    @pytest.mark.parametrize("cut", ["nowhere", "behind the head", "in the body", "everywhere"])
    def test_an_offer_to_upgrade_is_ignored_and_the_body_is_read(
        self, server: ServedApp, protocol: str, chunked: bool, cut: str
    ) -> None:
        data = request(*OFFERS[protocol], chunked=chunked)
        head = data.index(b"\r\n\r\n") + 4
        cuts = {"nowhere": [], "behind the head": [head], "in the body": [head + 20], "everywhere": range(1, len(data))}
        with connect(server) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(2):  # the connection is kept
                start = 0
                for end in [*cuts[cut], len(data)]:
                    connection.sendall(data[start:end])
                    start = end
                    if cut != "everywhere":
                        time.sleep(0.02)
                status, content = response(connection)
                assert status == 200, content
                assert json.loads(content)["choices"]
            connection.sendall(request())
            assert response(connection)[0] == 200

    @pytest.mark.parametrize("protocol", OFFERS)
    def test_a_get_that_offers_an_upgrade_is_served(self, server: ServedApp, protocol: str) -> None:
        with connect(server) as connection:
            for _ in range(2):
                connection.sendall(request(*OFFERS[protocol], line="GET /health HTTP/1.1", content=b""))
                assert response(connection)[0] == 200

    def test_a_second_offer_behind_a_running_request_ends_the_connection_after_the_answer(
        self, server: ServedApp
    ) -> None:
        with connect(server) as connection:
            connection.sendall(request(*OFFERS["h2c"]) * 3)
            assert response(connection)[0] == 200
            assert connection.recv(1) == b""

    def test_a_body_that_is_cut_is_not_served(self, server: ServedApp) -> None:
        asked = len(server.engine.asked)
        with connect(server) as connection:
            connection.sendall(request(*OFFERS["h2c"])[:-1])
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        assert len(server.engine.asked) == asked

    def test_a_tunnel_is_refused(self, server: ServedApp) -> None:
        with connect(server) as connection:
            connection.sendall(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n" + request())
            assert response(connection)[0] == 400
            assert connection.recv(1) == b""


class TestHeads:
    @pytest.mark.parametrize(
        ("head", "status"),
        [
            ("GET /health HTTP/1.1\r\nHost: x", 200),
            ("GET /health HTTP/1.1\r\nHost: [::1]:8000", 200),
            ("GET /health HTTP/1.1\r\nHost:", 200),
            ("GET /health HTTP/1.1\r\nX: y", 400),
            ("GET /health HTTP/1.1\r\nHost: x\r\nHost: x", 400),
            ("GET /health HTTP/1.1\r\nHost: x\r\nhost: y", 400),
            ("GET /health HTTP/1.1\r\nHost: x y", 400),
            ("GET /health HTTP/1.1\r\nHost: x/y", 400),
            ("GET /health HTTP/1.1\r\nHost: a@x", 400),
            ("GET /health HTTP/1.0", 200),
            ("GET /health HTTP/1.0\r\nHost: x\r\nHost: y", 400),
            ("GET /health HTTP/2.0\r\nHost: x", 400),
            ("GET /health HTTP/0.9\r\nHost: x", 400),
        ],
    )
    def test_a_request_of_http_1_1_has_one_host(self, server: ServedApp, head: str, status: int) -> None:
        with connect(server) as connection:
            connection.sendall(f"{head}\r\n\r\n".encode())
            assert response(connection)[0] == status
            if status == 400:
                assert connection.recv(1) == b""

    @pytest.mark.parametrize("garbage", [b"\0\0\0\0", b"GET /health HTTP/1.1\r\n\r\n", b"X" * 200_000])
    def test_what_is_not_http_behind_a_request_is_not_mixed_into_its_answer(
        self, server: ServedApp, garbage: bytes
    ) -> None:
        server.engine.seconds_between = 0.2
        with connect(server) as connection:
            connection.sendall(request(content=json.dumps(HELLO | {"stream": True}).encode()))
            received = b""
            while b"data:" not in received:
                received += connection.recv(1 << 16)
            connection.sendall(garbage)
            while chunk := connection.recv(1 << 16):
                received += chunk
        server.engine.seconds_between = 0.0
        assert received.count(b"HTTP/1.1 ") == 1
        assert received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


class TestKeptConnections:
    def test_a_connection_is_kept_for_the_next_request(self, server: ServedApp) -> None:
        """Proxies keep theirs for a minute, and meet a closed one if the server closes first."""
        with connect(server) as connection:
            connection.sendall(request())
            assert response(connection)[0] == 200
            time.sleep(LIMITS.head_timeout * 1.5)
            connection.sendall(request())
            assert response(connection)[0] == 200
            assert seconds_until_closed(connection) == pytest.approx(LIMITS.keep_alive_timeout, abs=1.0)
        assert Limits().keep_alive_timeout == 75.0

    def test_the_first_byte_of_the_next_request_ends_the_time_of_a_kept_connection(self, server: ServedApp) -> None:
        with connect(server) as connection:
            connection.sendall(request())
            response(connection)
            connection.sendall(b"G")
            assert seconds_until_closed(connection) < LIMITS.keep_alive_timeout - 1

    def test_the_connection_that_is_idle_longest_makes_room_for_a_new_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(descriptors, "most_connections", lambda: 3)
        with app_server.in_thread() as server:
            first, second, third = connections = [connect(server) for _ in range(3)]
            for connection in connections:
                connection.sendall(request())
                response(connection)
            with connect(server) as fourth:
                fourth.sendall(request())
                assert response(fourth)[0] == 200
                assert first.recv(1) == b""
                for connection in (second, third):
                    connection.sendall(request())
                    assert response(connection)[0] == 200
            for connection in connections:
                connection.close()


class TestClientsThatDoNotRead:
    def test_a_client_that_reads_nothing_of_its_stream_is_cut(self, server: ServedApp) -> None:
        line = json.dumps({"choices": [{"delta": {"content": "x" * 100_000}}]})
        events, server.engine.events = server.engine.events, [line] * 1_000_000
        try:
            with connect(server) as connection:
                connection.sendall(request(content=json.dumps(HELLO | {"stream": True}).encode()))
                wait_until(lambda: server.engine.streams_open == 1)
                wait_until(lambda: server.engine.streams_open == 0)
        finally:
            server.engine.events = events

    @pytest.mark.parametrize("connection_header", ["close", "keep-alive"])
    def test_a_client_that_reads_nothing_of_a_whole_answer_is_cut(
        self, server: ServedApp, connection_header: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def long_answer(*args: Any) -> dict[str, Any]:
            return {"choices": [], "text": "x" * 20_000_000}

        monkeypatch.setattr(server.engine, "chat", long_answer)
        with connect(server) as connection:
            wait_until(lambda: len(server.connections) == 1)  # the other tests' are gone
            connection.sendall(request(f"Connection: {connection_header}"))
            wait_until(lambda: not server.connections)
            received = 0
            with contextlib.suppress(ConnectionError):
                while chunk := connection.recv(1 << 20):
                    received += len(chunk)
        assert 0 < received < 20_000_000

    @pytest.mark.parametrize("stream", [False, True])
    def test_an_answer_that_is_cut_at_its_deadline_is_one_line_in_the_log(
        self, stream: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def long_answer(*args: Any) -> dict[str, Any]:
            return {"choices": [], "text": "x" * 20_000_000}

        caplog.set_level(logging.INFO)
        monkeypatch.setattr(sse, "GRACE", 0.1)
        limits = Limits(request_timeout=3.0, write_timeout=0.5)
        monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
        with app_server.in_thread(limits=limits) as server, connect(server) as connection:
            # So that the deadline comes before the time in which the client must read some.
            monkeypatch.setattr(BoundedHttp, "pause_writing", HttpToolsProtocol.pause_writing)
            if stream:
                server.engine.events = [json.dumps({"choices": [{"delta": {"content": "x" * 100_000}}]})] * 1_000_000
            else:
                monkeypatch.setattr(server.engine, "chat", long_answer)
            connection.sendall(request(content=json.dumps(HELLO | {"stream": stream}).encode()))
            wait_until(lambda: len(server.connections) == 1)
            wait_until(lambda: not server.connections)
        lines = [record for record in caplog.records if record.name.startswith(("uvicorn", "llava"))]
        assert [record.levelno for record in lines if record.levelno > logging.INFO] == []
        assert sum("an answer was cut" in record.message for record in lines) == 1

    def test_a_client_that_reads_slowly_is_served(self) -> None:
        """At this pace the system's buffer, of some MB, takes nothing for longer than the timeout."""
        pace = 800_000  # bytes a second
        line = json.dumps({"choices": [{"delta": {"content": "x" * 20_000}}]})
        with app_server.in_thread(limits=Limits(write_timeout=1.5)) as server, connect(server) as connection:
            server.engine.events = [line] * 300
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            connection.sendall(request(content=json.dumps(HELLO | {"stream": True}).encode()))
            received, started = 0, time.monotonic()
            while chunk := connection.recv(1 << 13):
                received += len(chunk)
                if b"[DONE]" in chunk[-30:]:
                    break
                time.sleep(max(0.0, started + received / pace - time.monotonic()))
        assert received > 300 * 20_000


def test_a_request_of_many_parts_is_read_whole(server: ServedApp) -> None:
    parts = [{"type": "text", "text": "x" * 1000}] * 500
    with connect(server) as connection:
        connection.sendall(request(*OFFERS["h2c"], content=json.dumps(body(*parts, max_tokens=1)).encode()))
        status, content = response(connection)
    assert status == 400
    assert json.loads(content)["error"]["code"] == "context_length_exceeded"
