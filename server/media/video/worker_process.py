"""The process that decodes video, one file at a time, for the server.

`python -m llava_interleave_serve.server.media.video.worker_process SOCKET_FD MEMORY_BYTES`

ffmpeg's decoders crash on some damaged files, and leak memory on others; in a process of their own that does not end
the server. worker_protocol.py describes the messages, worker_pool.py starts and ends the processes.
"""

import os
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from llava_interleave_serve.server.media.video import worker_protocol
from llava_interleave_serve.server.media.video.video_readers import reader_class

if TYPE_CHECKING:
    from llava_interleave_serve.server.media.video.decord_reader import DecordReader
    from llava_interleave_serve.server.media.video.frame_reader import FrameReader


class _Decoder:
    """Answers the messages about one video after another."""

    def __init__(self) -> None:
        self._reader: FrameReader | DecordReader | None = None

    def open(self, fd: int, reader: str) -> tuple[dict[str, Any], memoryview]:
        self._reader = None  # frees the last video first
        self._reader = reader_class(reader)(f"/proc/self/fd/{fd}")
        return {"frames": len(self._reader.times), "fps": self._reader.fps}, self._reader.times.data.cast("B")

    def read(self, indices: list[int], next_indices: list[int]) -> tuple[dict[str, Any], memoryview]:
        if self._reader is None:
            raise ValueError("no video is open")
        frames = self._reader.read(indices, next_indices)
        return {"shape": frames.shape}, frames.data.cast("B")


def main() -> None:
    connection, memory_bytes = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process when it is done
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    decoder = _Decoder()
    video: int | None = None  # file descriptor of the open video
    while True:
        try:
            message, fd = worker_protocol.receive(connection)
        except EOFError:
            return
        try:
            if fd is not None:
                if video is not None:
                    os.close(video)
                video = fd
                worker_protocol.send(connection, *decoder.open(fd, message["open"]))
            else:
                worker_protocol.send(connection, *decoder.read(message["read"], message["next"]))
        except Exception as error:  # noqa: BLE001 - whatever a damaged file makes the decoder raise is the answer
            worker_protocol.send(connection, {"error": type(error).__name__})


if __name__ == "__main__":
    main()
