"""Messages and their content pass between the server and a worker process."""

import os
import socket
from collections.abc import Iterator

import pytest

from llava_interleave_serve.server.media.video import worker_protocol


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    server, process = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with server, process:
        yield server, process


@pytest.mark.parametrize("content", [b"frames" * 1000, b""])
def test_a_worker_message_arrives_with_its_content(ends: tuple[socket.socket, socket.socket], content: bytes) -> None:
    server, process = ends
    worker_protocol.send(process, {"shape": [1, 2]}, content)
    message, fd = worker_protocol.receive(server)
    assert message == {"shape": [1, 2]}
    assert fd is not None
    with os.fdopen(fd, "rb") as file:
        assert file.read() == content


def test_successive_worker_messages_stay_apart_and_need_no_content(ends: tuple[socket.socket, socket.socket]) -> None:
    server, process = ends
    for name in ("first", "second"):
        worker_protocol.send(process, {"error": name})
    assert [worker_protocol.receive(server) for _ in range(2)] == [
        ({"error": "first"}, None),
        ({"error": "second"}, None),
    ]


def test_a_closed_worker_connection_reads_as_the_end(ends: tuple[socket.socket, socket.socket]) -> None:
    server, process = ends
    process.close()
    with pytest.raises(EOFError):
        worker_protocol.receive(server)
