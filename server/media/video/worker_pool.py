"""The server's side of the processes that decode video."""

import contextlib
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from llava_interleave_serve.server.errors import MediaError
from llava_interleave_serve.server.media.video import worker_process
from llava_interleave_serve.server.observability import metrics

MODULE = "llava_interleave_serve.server.media.video.worker_process"


class UnreadableVideo(Exception):
    """The decoder refused the file, or a picture in it."""


class Leash:
    """How whoever waits for a video lets go of it, from another thread: the process at it is ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: VideoWorker | None = None
        self._is_cut = False

    def hold(self, worker: "VideoWorker | None") -> None:
        """The worker that is at the video now. Raises EOFError if nobody waits for the video any more."""
        with self._lock:
            self._worker = worker
            if worker is not None and self._is_cut:
                raise EOFError

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    def cut(self) -> None:
        with self._lock:
            self._is_cut = True
            if self._worker is not None:
                self._worker.kill()


class VideoWorker:
    """One process, decoding one video at a time, each within a deadline (of time.monotonic).

    Raises UnreadableVideo for what the decoder refuses, EOFError if the process is gone, TimeoutError; after the last
    two it is to be closed.
    """

    def __init__(self, memory: int) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._deadline = 0.0
        self.pending = 0  # answers that have not been received
        self.digest = b""  # of the video that it has open
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

    def open(self, data: bytes, digest: bytes, deadline: float) -> tuple[np.ndarray, float]:
        """When each frame is shown and until when, float64 [frames, 2] in seconds; and the frames a second.

        The index of a video is made once, if it is the one that this worker has open.
        """
        self._deadline = deadline
        if digest != self.digest:
            self.digest = b""
            self._send({"open": True}, data)
            message, memory = self._receive()
            self._index = np.frombuffer(memory, np.float64).reshape(message["frames"], 2), message["fps"]
            self.digest = digest
        return self._index

    def ask(self, numbers: Sequence[int], later: Sequence[int] = ()) -> None:
        """Has some frames decoded; `pictures` waits for them. later: which are asked for next."""
        self._send({"read": list(numbers), "later": list(later)})

    def pictures(self) -> np.ndarray:
        """The frames asked for: uint8 [k, H, W, 3], RGB, in memory that goes with the array."""
        message, memory = self._receive()
        return np.frombuffer(memory, np.uint8).reshape(message["shape"])

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends the process, whatever it is at; who waits for its answer gets EOFError."""
        self._process.kill()

    def close(self) -> None:
        """Ends the process and what is held of it."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _send(self, message: dict[str, Any], content: bytes | None = None) -> None:
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        self.pending += 1
        try:
            worker_process.send(self._socket, message, content)
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    def _receive(self) -> tuple[dict[str, Any], mmap.mmap | bytes]:
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            message, fd = worker_process.receive(self._socket)
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
        self._idle: list[VideoWorker] = []  # the one used last at the end
        self._lock = threading.Lock()
        self._closed = False

    @contextlib.contextmanager
    def borrow(self, digest: bytes, leash: Leash) -> Iterator[VideoWorker]:
        """A worker for one video, the one that has it open if there is one.

        Its death and its being late are MediaErrors of the option `url`; the next video gets another worker.
        """
        worker = self._take(digest) or VideoWorker(self._memory)
        is_whole = True
        try:
            leash.hold(worker)
            yield worker
        except UnreadableVideo as refusal:
            is_whole = str(refusal) != "MemoryError"
            raise MediaError("the video is damaged, or has no pictures", param="url") from None
        except EOFError:
            is_whole = False
            if not leash.is_cut:
                metrics.VIDEO_WORKER_DEATHS.inc()
            raise MediaError("the video is damaged: its decoder gave up", param="url") from None
        except TimeoutError:
            is_whole = False
            metrics.VIDEO_WORKER_DEATHS.inc()
            raise MediaError("the video takes too long to decode", param="url") from None
        finally:
            leash.hold(None)
            if is_whole and worker.pending == 0:
                self._give_back(worker)
            else:
                worker.close()

    def _take(self, digest: bytes) -> VideoWorker | None:
        with self._lock:
            for worker in [worker for worker in self._idle if not worker.alive]:
                self._idle.remove(worker)
                worker.close()
            for at, worker in enumerate(self._idle):
                if worker.digest == digest:
                    return self._idle.pop(at)
            return self._idle.pop(0) if self._idle else None

    def _give_back(self, worker: VideoWorker) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(worker)
                return
        worker.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.close()
