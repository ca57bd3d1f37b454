"""Messages and descriptors pass between the server and a decode process."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from llava_interleave_serve.server.media.decoding import protocol
from llava_interleave_serve.server.media.decoding.memory_file import MemoryFile

pytestmark = pytest.mark.anyio
Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    server, process = socket.socketpair()
    with server, process:
        yield server, process


def test_the_first_message_arrives_with_its_descriptors(ends: Ends) -> None:
    server, process = ends
    file = MemoryFile()
    file.write(b"frames" * 1000)
    protocol.send_with_descriptors(server, {"limits": {}}, [file.fd])
    message, (fd,) = protocol.receive_with_descriptors(process)
    assert message == {"limits": {}}
    assert fd != file.fd
    assert MemoryFile(fd).read(6000) == b"frames" * 1000
    os.close(fd)
    file.close()


def test_successive_messages_stay_apart_whatever_their_size(ends: Ends) -> None:
    server, process = ends
    messages: list[dict[str, Any]] = [{"n": 1}, {"text": "x" * 1_000_000}, {}]
    thread = threading.Thread(target=server.sendall, args=[b"".join(map(protocol.pack, messages))])
    thread.start()
    assert [protocol.receive(process) for _ in messages] == messages
    thread.join()


async def test_the_server_reads_messages_up_to_their_bound(ends: Ends) -> None:
    reader, writer = await asyncio.open_connection(sock=ends[0])
    ends[1].sendall(protocol.pack({"views": 1}) + protocol.LENGTH.pack(protocol.MAX_MESSAGE_BYTES + 1))
    assert await protocol.read(reader) == {"views": 1}
    with pytest.raises(ValueError, match="a message of"):
        await protocol.read(reader)
    writer.close()


@pytest.mark.parametrize("rest", [b"", b"\0\0", b"\0\0\0\x05{}"])
async def test_a_closed_connection_reads_as_the_end_on_both_sides(ends: Ends, rest: bytes) -> None:
    reader, writer = await asyncio.open_connection(sock=ends[0])
    ends[1].sendall(rest)
    ends[1].close()
    with pytest.raises(EOFError):
        await protocol.read(reader)
    writer.close()
    server, process = socket.socketpair()
    server.sendall(rest)
    server.close()
    with process, pytest.raises(EOFError):
        protocol.receive(process)
