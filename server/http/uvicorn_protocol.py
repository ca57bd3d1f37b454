"""uvicorn's HTTP/1.1 protocol with bounds on the bytes and the time of headers, and on the number of connections."""

import asyncio
import fcntl
import json
import re
import struct
import termios
from collections import OrderedDict
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.http.error_responses import error_body
from llava_interleave_serve.server.limits import Limits

HEAD_BYTES = 64 * 1024
TAKEN_BYTES = 16 * 1024  # that a client must take within write_timeout while more than 64 KiB wait to be sent to it
VERSIONS = ("1.0", "1.1")
HOST = re.compile(rb"[!$%&'()*+,\-.0-9:;=A-Z_a-z~\[\]]*")  # RFC 3986's characters of a host and a port


def bounded_http(limits: Limits, most_connections: int) -> type["BoundedHttp"]:
    """The protocol with these bounds; uvicorn makes an instance for each connection."""
    attributes = {
        "head_timeout": limits.head_timeout,
        "keep_alive_timeout": limits.keep_alive_timeout,
        "write_timeout": limits.write_timeout,
        "most_connections": most_connections,
        "idle_connections": OrderedDict(),
    }
    return type("ConfiguredHttp", (BoundedHttp,), attributes)


class BoundedHttp(HttpToolsProtocol):
    """Refuses headers, or trailers, of more than HEAD_BYTES and one read: the parser itself has no bound.

    What is not HTTP is answered with OpenAI's error object, and the connection is closed. A request that comes before
    the answer to the last one is not served, and the connection is closed after that answer: uvicorn would stop reading
    until then, and could not see that the client leaves. An offer to upgrade the connection is not taken: the request
    is served in HTTP/1.1 (RFC 9110, 7.8).

    Attributes:
        head_timeout: seconds from the connection, and from the first byte of each further request, to the end of a
            request's headers.
        keep_alive_timeout: seconds from the end of an answer to the first byte of the next request.
        write_timeout: seconds in which a client must take TAKEN_BYTES of an answer while more than 64 KiB of it wait.
        most_connections: if there are more, the one that has been idle longest is closed, or else the new one.
        idle_connections: connections between two requests, in the order in which they became idle; of all instances.

    """

    head_timeout = 10.0
    keep_alive_timeout = 75.0
    write_timeout = 10.0
    most_connections = 1000
    idle_connections: OrderedDict["BoundedHttp", None]
    _is_last = False  # True if what comes behind the running request is not read
    _in_message = False  # True from the first byte of a request to the end of its body
    _offers_upgrade = False  # True from the end of headers that offer an upgrade until they have been read without it
    _timer: asyncio.TimerHandle | None = None  # until a head must have come
    _write_timer: asyncio.TimerHandle | None = None  # until the client must have taken some of what is to be sent to it
    _unparsed = 0  # bytes since the parser last reported the end of headers, of a piece of a body, or of a message

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            oldest = next(iter(self.idle_connections), self)
            self.idle_connections.pop(oldest, None)
            oldest.transport.abort()
        if not transport.is_closing():
            self._close_after(self.head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_last:
            return
        self._unset_keepalive_if_required()
        self._unparsed += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("the request is not valid HTTP/1.1")
        if self._unparsed > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"the request's headers are larger than {HEAD_BYTES} bytes")

    def _parse(self, data: bytes) -> None:
        """Feeds the parser. Headers that offer an upgrade end it; they are given to a fresh one, without the offer."""
        while not self._is_last:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as end_of_head:
                if self._is_last:  # a CONNECT, which has been refused
                    return
                data = self._head_without_upgrade() + data[end_of_head.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                self._offers_upgrade = False
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message = True
        if self in self.idle_connections:
            self._close_after(self.head_timeout)

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        if self.cycle is not None and not self.cycle.response_complete:
            self._is_last, self.cycle.keep_alive = True, False
            return
        if (fault := self._fault_of_head()) is not None:
            self.send_400_response(fault)
            self._is_last = True
            return
        if self.parser.should_upgrade():
            self._offers_upgrade = True
            return
        self._stop_waiting()
        super().on_headers_complete()

    def _fault_of_head(self) -> str | None:
        """What RFC 9112 (3.2, 2.3) forbids and the parser lets through."""
        version = self.parser.get_http_version()
        hosts = [value for name, value in self.headers if name == b"host"]
        if version not in VERSIONS:
            return "the server speaks HTTP/1.1"
        if self.parser.get_method() == b"CONNECT":
            return "the server is no proxy"
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            return f"a request has one Host header, not {len(hosts)}"
        return None if all(map(HOST.fullmatch, hosts)) else "the Host header is not a host"

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        if not self._is_last:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        if self._is_last or self._offers_upgrade:
            return
        self._in_message = False
        if self.cycle.response_complete:
            self._become_idle()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        # uvicorn's own timer ends with the next byte that comes, be it of the body of a request that is answered.
        if self.transport.is_closing():
            self._close_after(self.write_timeout)
        elif self._in_message:
            self._close_after(self.head_timeout)
        else:
            self._become_idle()
        super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        async def watched(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            finally:
                # uvicorn closes the connection of an answer that was broken off, once the client has read the rest.
                if not cycle.response_complete and not self.transport.is_closing():
                    self._close_after(self.write_timeout)
            if cycle.response_started and not cycle.response_complete:
                # The answer was cut on purpose; uvicorn would log an error of the application.
                self.transport.close()
                cycle.disconnected = True

        super()._start_asgi_task(cycle, watched)

    def _become_idle(self) -> None:
        self._close_after(self.keep_alive_timeout)
        self.idle_connections[self] = None

    def _close_after(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self._close)

    def _close(self) -> None:
        if self.transport.get_write_buffer_size():
            self._expect_reading()
        self.transport.close()

    def _stop_waiting(self) -> None:
        self.idle_connections.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        if not self.transport.is_closing():
            self._stop_writing()
        super().resume_writing()

    def _expect_reading(self) -> None:
        """Cuts the connection unless its client goes on to take what waits to be sent to it."""
        self._stop_writing()
        self._write_timer = self.loop.call_later(self.write_timeout, self._cut_unless_taken, self._untaken())

    def _untaken(self) -> int:
        """Bytes that wait here and in the system's buffer, which takes more only once much of it has been taken."""
        queued = struct.pack("i", 0)
        if (connection := self.transport.get_extra_info("socket")) is not None and connection.fileno() >= 0:
            queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, queued)
        return self.transport.get_write_buffer_size() + int(struct.unpack("i", queued)[0])

    def _cut_unless_taken(self, before: int) -> None:
        if self._untaken() > max(0, before - TAKEN_BYTES):
            self.transport.abort()
        else:
            self._expect_reading()

    def _stop_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def send_400_response(self, msg: str) -> None:
        """uvicorn's hook for what is not HTTP; a running answer is not mixed with another."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and (cycle.response_started or not cycle.more_body):
            self._is_last, cycle.keep_alive = True, False
            return
        content = json.dumps(error_body(RequestError(msg))).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self._close()
