"""uvicorn's HTTP/1.1 protocol with a bound on the bytes of headers."""

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.http.error_responses import error_body

HEAD_BYTES = 64 * 1024


class BoundedHttp(HttpToolsProtocol):
    """Refuses headers, or trailers, of more than HEAD_BYTES and one read: the parser itself has no bound.

    What is not HTTP is answered with OpenAI's error object, and the connection is closed.
    """

    _unparsed = 0  # bytes since the parser last reported the end of headers, of a piece of a body, or of a message

    def data_received(self, data: bytes) -> None:
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"the request's headers are larger than {HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's hook for what is not HTTP."""
        content = json.dumps(error_body(RequestError(msg))).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()
