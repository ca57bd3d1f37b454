"""The server's side of the processes that decode video."""

import contextlib
import mmap
import os
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from llava_interleave_serve.server import metrics
from llava_interleave_serve.server.errors import MediaError
from llava_interleave_serve.server.media import video_worker

MODULE = "llava_interleave_serve.server.media.video_worker"


class UnreadableVideo(Exception):
    """The decoder refused the file, or a picture in it."""


class VideoWorker:
    """One process, decoding one video at a time, each within a deadline (of time.monotonic).

    Raises UnreadableVideo for what the decoder refuses, EOFError if the process is gone, TimeoutError; after the last
    two it is to be closed.
    """

    def __init__(self, memory: int) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._deadline = 0.0
        self.pending = 0  # answers that have not been received
        with theirs:
            command = [sys.executable, "-m", MODULE, str(theirs.fileno()), str(memory)]
            # Only MODULE runs in the process, so that what the server was given in secret is not passed on.
            environment = {
                name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ
            }
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def open(self, data: bytes, deadline: float) -> tuple[np.ndarray, float]:
        """When each frame is shown and until when, float64 [frames, 2] in seconds; and the frames a second."""
        self._deadline = deadline
        self._send({"open": True}, data)
        message, memory = self._receive()
        return np.frombuffer(memory, np.float64).reshape(message["frames"], 2), message["fps"]

    def ask(self, numbers: Sequence[int]) -> None:
        """Has some frames decoded; `pictures` waits for them."""
        self._send({"read": list(numbers)})

    def pictures(self) -> np.ndarray:
        """The frames asked for: uint8 [k, H, W, 3], RGB, in memory that goes with the array."""
        message, memory = self._receive()
        return np.frombuffer(memory, np.uint8).reshape(message["shape"])

    def close(self) -> None:
        """Ends the process, whatever it is at."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _send(self, message: dict[str, Any], content: bytes | None = None) -> None:
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        self.pending += 1
        try:
            video_worker.send(self._socket, message, content)
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    def _receive(self) -> tuple[dict[str, Any], mmap.mmap | bytes]:
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            message, fd = video_worker.receive(self._socket)
        except ConnectionResetError:
            raise EOFError from None
        self.pending -= 1
        if fd is None:
            raise UnreadableVideo(message["error"])
        try:
            size = os.fstat(fd).st_size
            return message, mmap.mmap(fd, size, prot=mmap.PROT_READ | mmap.PROT_WRITE) if size else b""
        finally:
            os.close(fd)


class VideoWorkers:
    """As many processes as videos are decoded at once; each starts when it is first needed, and again after it died."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._idle: queue.LifoQueue[VideoWorker] = queue.LifoQueue()
        self._closed = False

    @contextlib.contextmanager
    def borrow(self, *, param: str) -> Iterator[VideoWorker]:
        """A worker for one video. Its death and its being late are MediaErrors of the part; the next gets another."""
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            worker = VideoWorker(self._memory)
        is_whole = True
        try:
            yield worker
        except UnreadableVideo as refusal:
            is_whole = str(refusal) != "MemoryError"
            raise MediaError("the video is damaged, or has no pictures", param=param) from None
        except EOFError:
            is_whole = False
            metrics.VIDEO_WORKER_DEATHS.inc()
            raise MediaError("the video is damaged: its decoder gave up", param=param) from None
        except TimeoutError:
            is_whole = False
            metrics.VIDEO_WORKER_DEATHS.inc()
            raise MediaError("the video takes too long to decode", param=param) from None
        finally:
            if is_whole and worker.pending == 0 and not self._closed:
                self._idle.put(worker)
            else:
                worker.close()

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()
