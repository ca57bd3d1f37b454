"""The process that decodes media, one file at a time, for the server.

`python -m llava_interleave_serve.server.media.decoding.process SOCKET_FD`

Decoders crash on some damaged files, and take minutes or gigabytes for others; in a process of their own they can be
ended, and the server goes on. protocol.py describes the messages, worker.py starts and ends the processes.
"""

import contextlib
import ctypes
import select
import signal
import socket
import sys

from llava_interleave_serve.server.errors import MediaError
from llava_interleave_serve.server.media.decoding import protocol
from llava_interleave_serve.server.media.decoding.confinement import confine
from llava_interleave_serve.server.media.native import build

FREE_PIXELS = 2_000_000  # a picture of no more is decoded without asking; it takes some 50 MB at most
TRIM_SECONDS = 1.0  # without a job, after which freed memory goes back to the system
CLOSE_SECONDS = 10.0  # without a job, after which the open video is closed


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process when it is done
    settings, fds = protocol.receive_with_descriptors(connection)
    source, room, *libraries = fds
    build.inherit(libraries[0] if libraries else None)
    build.library()  # whose file has no place among those that may be opened later
    confine(settings["limits"]["decoder_memory_bytes"])
    try:
        from llava_interleave_serve.server.media.decoding.jobs import JobRunner  # noqa: PLC0415 - within the limits

        runner = JobRunner(settings, source, room, lambda pixels, pictures: _ask(connection, pixels, pictures))
    except Exception as error:  # noqa: BLE001 - told to the server, which logs it
        connection.sendall(protocol.pack({"failure": f"{type(error).__name__}: {error}"[:1000]}))
        return
    connection.sendall(protocol.pack({"failure": ""}))
    while True:
        if not _comes_within(connection, TRIM_SECONDS):
            _trim_heap()
            if not _comes_within(connection, CLOSE_SECONDS - TRIM_SECONDS):
                runner.close_video()
                _trim_heap()
        try:
            job = protocol.receive(connection)
        except (EOFError, ConnectionResetError):
            return
        connection.sendall(protocol.pack(runner.run(job)))


def _ask(connection: socket.socket, pixels: int, pictures: int) -> None:
    """Waits until the server allows pictures of this size to be decoded, one at a time.

    Raises MediaError, which nobody reads, if the server refuses.
    """
    if pixels > FREE_PIXELS:
        connection.sendall(protocol.pack({"pixels": pixels, "pictures": pictures}))
        if protocol.receive(connection):
            raise MediaError("the picture was not decoded", param="url")


def _comes_within(connection: socket.socket, seconds: float) -> bool:
    return bool(select.select([connection], [], [], seconds)[0])


def _trim_heap() -> None:
    """Returns freed memory to the system, where the C library can (malloc_trim of glibc)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main()
