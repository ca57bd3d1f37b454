"""The messages between the server and a process that decodes media: worker.py and process.py.

Both ends hold a Unix stream socket. A message is JSON behind its length in four bytes. Files and pixels do not go
through the socket but through two files in anonymous memory, whose descriptors come with the first message: the source,
which the server writes, and the room, which the process writes views to.

    server: {"limits": {...}, "image_size": S, ...}    the settings, once
    process: {"failure": ""}                           it is ready: messages.Ready
    server: {"media": "image", "source_bytes": n, ...} a job: jobs.JobRunner.run
    process: {"pixels": n, "pictures": k}              only of a large picture or frame: may it be decoded now?
    server: {}, or {"refused": true}                   the answer; a video asks again when its frames grow
    process: {"views": n, ...}                         the result: messages.Result
    process: {"error": "MediaError", "message": ...}   or a refusal: messages.Refusal

The server takes no descriptors and maps no memory: a process that a file has taken over has nothing to give it.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

LENGTH = struct.Struct(">I")
MAX_MESSAGE_BYTES = 1 << 20
MAX_DESCRIPTORS = 3


def pack(message: dict[str, Any]) -> bytes:
    """The bytes of a message."""
    text = json.dumps(message).encode()
    return LENGTH.pack(len(text)) + text


def send_with_descriptors(connection: socket.socket, message: dict[str, Any], fds: Sequence[int]) -> None:
    """Sends a message and copies of file descriptors. Raises OSError if the other side is gone."""
    data = pack(message)
    sent = socket.send_fds(connection, [data], fds)
    connection.sendall(data[sent:])


def receive_with_descriptors(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Waits for the next message and its file descriptors. Raises as `receive` does."""
    start, fds, _, _ = socket.recv_fds(connection, LENGTH.size, MAX_DESCRIPTORS)
    return _receive_rest(connection, start), fds


def receive(connection: socket.socket) -> dict[str, Any]:
    """Waits for the next message. Raises EOFError if the other side is gone."""
    return _receive_rest(connection, connection.recv(LENGTH.size))


async def read(reader: asyncio.StreamReader) -> Any:
    """Waits for the next message, which need not be what it should.

    Raises EOFError if the other side is gone, ValueError and RecursionError for what is no JSON.
    """
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if length > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {length} bytes")
    return json.loads(await reader.readexactly(length))


def _receive_rest(connection: socket.socket, start: bytes) -> dict[str, Any]:
    if not start:
        raise EOFError
    (length,) = LENGTH.unpack(start + _receive_exactly(connection, LENGTH.size - len(start)))
    message: dict[str, Any] = json.loads(_receive_exactly(connection, length))
    return message


def _receive_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
