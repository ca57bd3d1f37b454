"""How HTTP/1.1 is read from a socket: uvicorn's reader, of which a client cannot fill the memory with headers."""

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llava_interleave_serve.server.errors import RequestError, body

HEAD_BYTES = 64 * 1024


class BoundedHttp(HttpToolsProtocol):
    """Refuses a head, or trailers, of more than HEAD_BYTES and one read: the parser itself knows no bound.

    What cannot be parsed is answered with OpenAI's error object, and the connection closed.
    """

    _unparsed = 0  # bytes since the last head, piece of a body or end that the parser has told of

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
        """The hook of uvicorn for what is not HTTP."""
        content = json.dumps(body(RequestError(msg))).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()
