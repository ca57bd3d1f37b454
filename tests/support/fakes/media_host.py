"""A media host whose every step a test decides, on loopback addresses and the test's own event loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class MediaHost:
    """Responds to `GET /held/…` when `release` is set, and to other paths at once, with the content of `contents`.

    Attributes:
        port: where it listens, on all loopback addresses given.
        paths: that it was asked for, in order.
        headers: of the last request, by lower-case name.
        contents: by path; b"x" for others.
        release: lets the held responses go.
        requests_of_connection: after so many requests of one connection it is closed without a response to the next.

    """

    def __init__(self) -> None:
        self.port = 0
        self.paths: list[str] = []
        self.headers: dict[str, str] = {}
        self.contents: dict[str, bytes] = {}
        self.release = asyncio.Event()
        self.requests_of_connection = 1 << 30
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            for _ in range(self.requests_of_connection):
                await self._respond(reader, writer)
            await reader.readuntil(b"\r\n\r\n")

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        path = request.split()[1]
        self.paths.append(path)
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if path.startswith("/held/"):
            await self.release.wait()
        if path.startswith("/redirect/"):
            target = path.removeprefix("/redirect/")
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        content = self.contents.get(path, b"x")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        await writer.drain()


@contextlib.asynccontextmanager
async def listening(*addresses: str) -> AsyncIterator[MediaHost]:
    """A host at a free port of these addresses, 127.0.0.1 by default."""
    host = MediaHost()
    async with contextlib.AsyncExitStack() as servers:
        for address in addresses or ("127.0.0.1",):
            server = await servers.enter_async_context(await asyncio.start_server(host.serve, address, host.port))
            servers.callback(server.close)
            host.port = server.sockets[0].getsockname()[1]
        try:
            yield host
        finally:
            host.release.set()
