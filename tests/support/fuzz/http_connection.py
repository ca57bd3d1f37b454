"""A connection without a socket: bytes in, the server's HTTP protocol, bytes out."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from llava_interleave_serve.server.http.uvicorn_protocol import BoundedHttp


class _Transport(asyncio.Transport):
    """Collects what is written, and says when it has been closed."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written: list[bytes] = []
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._is_closing:
            self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def get_write_buffer_size(self) -> int:
        return 0


async def _echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers the method, the target and the body, once the body has come."""
    content, more = b"", True
    while more:
        message = await receive()
        content, more = content + message.get("body", b""), message.get("more_body", False)
    answer = b" ".join([scope["method"].encode(), scope["raw_path"], scope["query_string"], content])
    length = str(len(answer)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": answer})


_CONFIG = Config(_echo, lifespan="off", log_config=None, access_log=False, date_header=False, server_header=False)
_CONFIG.load()


class _Protocol(BoundedHttp):
    """The server's protocol, whose own errors the parser would report as the client's."""

    idle_connections = OrderedDict()

    def _parse(self, data: bytes) -> None:
        try:
            super()._parse(data)
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, httptools.HttpParserInvalidURLError):
                raise  # the client's fault
            raise RuntimeError("a callback of the parser failed") from error


async def answers(pieces: Iterable[bytes]) -> bytes:
    """What the server writes to a client that sends these pieces, each when the last has been answered, and leaves.

    The application answers each request by an echo. Raises what the protocol raises.
    """
    loop, transport = asyncio.get_running_loop(), _Transport()
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    protocol = _Protocol(_CONFIG, ServerState(), {}, loop)
    protocol.connection_made(transport)
    for piece in pieces:
        if transport.is_closing():
            break
        protocol.data_received(piece)
        for _ in range(3):  # the application runs in a task
            await asyncio.sleep(0)
    protocol.connection_lost(None)
    await asyncio.sleep(0)
    if errors:
        raise RuntimeError(errors)
    return b"".join(transport.written)
