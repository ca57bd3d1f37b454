"""The messages between the server and a process that decodes video: worker_pool.py and worker_process.py.

Both ends hold a Unix socket of type SOCK_SEQPACKET, which keeps messages apart. A message is JSON, with at most one
file descriptor of anonymous memory (memfd) beside it, so that neither a video nor frames go through the socket:

    server: {"open": reader}, a video file             process: {"frames": n, "fps": f}, times, float64 [n, 2]
    server: {"read": indices, "next": indices}         process: {"shape": [k, H, W, 3]}, frames, uint8
    either, if it fails                                process: {"error": name of the exception}

`reader` is one of VIDEO_READERS (video_readers.py), `times` and `fps` are its attributes, and `read` and `next` are the
arguments of its method `read`.
"""

import json
import mmap
import os
import socket
from typing import Any

MAX_MESSAGE_BYTES = 1 << 16  # of JSON


def send(connection: socket.socket, message: dict[str, Any], content: memoryview | bytes | None = None) -> None:
    """Sends a message, and its content, if any, in anonymous memory. Raises OSError if the other side is gone."""
    fds = [] if content is None else [_anonymous_file(content)]
    try:
        socket.send_fds(connection, [json.dumps(message).encode()], fds)
    finally:
        for fd in fds:
            os.close(fd)


def receive(connection: socket.socket) -> tuple[dict[str, Any], int | None]:
    """Waits for the next message, and the file descriptor of its content. Raises EOFError if the other side is gone."""
    text, fds, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 1)
    if not text:
        raise EOFError
    return json.loads(text), fds[0] if fds else None


def _anonymous_file(content: memoryview | bytes) -> int:
    """Copies bytes to an anonymous file in memory, and returns its file descriptor."""
    fd = os.memfd_create("media", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, len(content))
        if len(content) > 0:
            with mmap.mmap(fd, len(content)) as memory:
                memory[:] = content
    except BaseException:
        os.close(fd)
        raise
    return fd
