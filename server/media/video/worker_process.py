"""A process that decodes video.

`python -m llava_interleave_serve.server.media.video.worker_process SOCKET MEMORY_BYTES`

Native decoders crash on damaged files, and leak; here that ends this process and not the server. It answers messages on
a SEQPACKET socket, JSON with at most one file descriptor of anonymous memory beside it:

    {"open": true} and a video file  ->  {"frames": n, "fps": f} and its frames' times, float64 [n, 2]
    {"read": [numbers], "later": []} ->  {"shape": [k, H, W, 3]} and the pictures, uint8; later: what is read next
    anything that fails              ->  {"error": its name}
"""

import json
import mmap
import os
import resource
import signal
import socket
import sys
from typing import Any

MESSAGE_BYTES = 1 << 16


def in_memory(content: memoryview | bytes) -> int:
    """A file descriptor of anonymous memory that holds the content."""
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


def send(connection: socket.socket, message: dict[str, Any], content: memoryview | bytes | None = None) -> None:
    """Sends a message, with some content in memory that both processes see."""
    fds = [] if content is None else [in_memory(content)]
    try:
        socket.send_fds(connection, [json.dumps(message).encode()], fds)
    finally:
        for fd in fds:
            os.close(fd)


def receive(connection: socket.socket) -> tuple[dict[str, Any], int | None]:
    """The next message and the descriptor beside it; raises EOFError when the other side is gone."""
    text, fds, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 1)
    if not text:
        raise EOFError
    return json.loads(text), fds[0] if fds else None


class _Decoder:
    """Answers the messages of one connection."""

    def __init__(self) -> None:
        from llava_interleave_serve.server.media.video.frame_reader import Film  # noqa: PLC0415

        self._open = Film
        self._film: Film | None = None

    def open(self, file: int) -> tuple[dict[str, Any], memoryview]:
        self._film = None
        self._film = self._open(f"/proc/self/fd/{file}")
        return {"frames": len(self._film.times), "fps": self._film.fps}, self._film.times.data.cast("B")

    def read(self, numbers: list[int], later: list[int]) -> tuple[dict[str, Any], memoryview]:
        if self._film is None:
            raise ValueError("no video is open")
        pictures = self._film.read(numbers, later)
        return {"shape": pictures.shape}, pictures.data.cast("B")


def main() -> None:
    connection, memory = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when it is over
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    decoder = _Decoder()
    file: int | None = None
    while True:
        try:
            message, fd = receive(connection)
        except EOFError:
            return
        try:
            if fd is not None:
                if file is not None:
                    os.close(file)
                file = fd
                send(connection, *decoder.open(fd))
            else:
                send(connection, *decoder.read(message["read"], message["later"]))
        except Exception as error:  # noqa: BLE001 - whatever a damaged file makes the decoder raise is the answer
            send(connection, {"error": type(error).__name__})


if __name__ == "__main__":
    main()
