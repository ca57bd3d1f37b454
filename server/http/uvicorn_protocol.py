"""uvicorn's HTTP/1.1 protocol with bounds on the bytes and the time of headers, and on the number of connections."""

import asyncio
import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.http.error_responses import error_body

HEAD_BYTES = 64 * 1024


def bounded_http(head_timeout: float, most_connections: int) -> type["BoundedHttp"]:
    """The protocol with these bounds; uvicorn makes an instance for each connection."""
    return type("ConfiguredHttp", (BoundedHttp,), {"head_timeout": head_timeout, "most_connections": most_connections})


class BoundedHttp(HttpToolsProtocol):
    """Refuses headers, or trailers, of more than HEAD_BYTES and one read: the parser itself has no bound.

    What is not HTTP is answered with OpenAI's error object, and the connection is closed. A request that comes before
    the answer to the last one is not served, and the connection is closed after that answer: uvicorn would stop reading
    until then, and could not see that the client leaves.

    Attributes:
        head_timeout: seconds from the connection, and from the end of each answer, to the end of a request's headers.
        most_connections: connections beyond these are closed at once.

    """

    head_timeout = 10.0
    most_connections = 1000
    _is_last = False  # True if what comes behind the running request is not read
    _head_timer: asyncio.TimerHandle | None = None
    _unparsed = 0  # bytes since the parser last reported the end of headers, of a piece of a body, or of a message

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.abort()
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_last:
            return
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"the request's headers are larger than {HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        self._stop_waiting()
        if self.cycle is not None and not self.cycle.response_complete:
            self._is_last, self.cycle.keep_alive = True, False
        if not self._is_last:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        if not self._is_last:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        if not self._is_last:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        # uvicorn's own timer ends with the next byte that comes, be it of the body of a request that is answered.
        self._await_head()
        super().on_response_complete()

    def _await_head(self) -> None:
        self._stop_waiting()
        self._head_timer = self.loop.call_later(self.head_timeout, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def send_400_response(self, msg: str) -> None:
        """uvicorn's hook for what is not HTTP."""
        content = json.dumps(error_body(RequestError(msg))).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()
