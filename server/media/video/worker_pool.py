"""Starts, reuses and ends the processes that decode video (worker_process.py)."""

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
from llava_interleave_serve.server.media.video import worker_protocol
from llava_interleave_serve.server.observability import metrics

WORKER_MODULE = "llava_interleave_serve.server.media.video.worker_process"


class UnreadableVideo(Exception):
    """The decoder raised an exception on the file, or on a frame of it; the message is the exception's name."""


class CancellationHandle:
    """Cancels the decoding of one video from another thread, by ending the process that is at work on it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: VideoWorker | None = None
        self._is_cancelled = False

    def attach(self, worker: "VideoWorker") -> None:
        """Sets the worker that `cancel` ends. Raises EOFError if the decoding has been cancelled already."""
        with self._lock:
            self._worker = worker
            if self._is_cancelled:
                raise EOFError

    def detach(self) -> None:
        """Forgets the worker, which may decode another video from now on."""
        with self._lock:
            self._worker = None

    @property
    def is_cancelled(self) -> bool:
        return self._is_cancelled

    def cancel(self) -> None:
        with self._lock:
            self._is_cancelled = True
            if self._worker is not None:
                self._worker.kill()


class VideoWorker:
    """One process that decodes one video at a time, each before a deadline (of time.monotonic).

    Its methods raise UnreadableVideo for what the decoder cannot read, EOFError if the process has ended, and
    TimeoutError at the deadline. After the last two the worker must be closed.

    Attributes:
        digest: of the video that the process has open; empty if there is none.
        pending_replies: requests whose reply has not been received.

    """

    def __init__(self, memory_bytes: int, reader: str) -> None:
        """Starts the process. memory_bytes: the address space that it may use. reader: one of VIDEO_READERS."""
        self._reader = reader
        self._socket, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._deadline = 0.0
        self.pending_replies = 0
        self.digest = b""
        with other_end:
            command = [sys.executable, "-m", WORKER_MODULE, str(other_end.fileno()), str(memory_bytes)]
            # What finds Python and our package, and nothing else: the server's environment may hold secrets.
            environment = {
                name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ
            }
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[other_end.fileno()],
            )

    def open(self, data: bytes, digest: bytes, deadline: float) -> tuple[np.ndarray, float]:
        """Opens a video, unless it is open already, and sets the deadline of everything up to the next `open`.

        Returns from when to when each frame is shown, float64 [frames, 2] in seconds, and the frames a second.
        """
        self._deadline = deadline
        if digest != self.digest:
            self.digest = b""
            self._send({"open": self._reader}, data)
            message, content = self._receive()
            self._times_and_fps = np.frombuffer(content, np.float64).reshape(message["frames"], 2), message["fps"]
            self.digest = digest
        return self._times_and_fps

    def request_frames(self, indices: Sequence[int], next_indices: Sequence[int] = ()) -> None:
        """Has frames with rising indices decoded, which `receive_frames` waits for.

        next_indices: those of the next request.
        """
        self._send({"read": list(indices), "next": list(next_indices)})

    def receive_frames(self) -> np.ndarray:
        """Waits for the frames requested: uint8 [k, H, W, 3], RGB, in shared memory that is freed with the array."""
        message, content = self._receive()
        return np.frombuffer(content, np.uint8).reshape(message["shape"])

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends the process at once; a thread that waits for its reply gets EOFError."""
        self._process.kill()

    def close(self) -> None:
        """Ends the process, and frees its socket and its entry in the system's process table."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _send(self, message: dict[str, Any], content: bytes | None = None) -> None:
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        self.pending_replies += 1
        try:
            worker_protocol.send(self._socket, message, content)
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    def _receive(self) -> tuple[dict[str, Any], mmap.mmap | bytes]:
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            message, fd = worker_protocol.receive(self._socket)
        except ConnectionResetError:
            raise EOFError from None
        self.pending_replies -= 1
        if fd is None:
            raise UnreadableVideo(message["error"])
        try:
            size = os.fstat(fd).st_size
            return message, mmap.mmap(fd, size, prot=mmap.PROT_READ | mmap.PROT_WRITE) if size else b""
        finally:
            os.close(fd)


class VideoWorkerPool:
    """Lends workers, as many as videos are decoded at the same time; a process starts when no worker is idle."""

    def __init__(self, memory_bytes: int, reader: str = "pyav") -> None:
        """memory_bytes: the address space that each process may use. reader: one of VIDEO_READERS."""
        self._memory_bytes, self._reader = memory_bytes, reader
        self._idle: list[VideoWorker] = []  # the most recently used last
        self._lock = threading.Lock()
        self._is_closed = False

    @contextlib.contextmanager
    def borrow(self, digest: bytes, cancellation: CancellationHandle) -> Iterator[VideoWorker]:
        """Lends a worker for one video, if possible one that has the video open.

        Raises MediaError of the option `url` if the video cannot be read, or if the process ends, is late or runs out
        of memory; then the next video gets another process.
        """
        worker = self._take(digest) or VideoWorker(self._memory_bytes, self._reader)
        is_reusable = True
        try:
            cancellation.attach(worker)
            yield worker
        except UnreadableVideo as refusal:
            is_reusable = str(refusal) != "MemoryError"
            raise MediaError("the video is damaged, or has no pictures or too many", param="url") from None
        except EOFError:
            is_reusable = False
            if not cancellation.is_cancelled:
                metrics.VIDEO_WORKER_DEATHS.inc()
            raise MediaError("the video is damaged: its decoder gave up", param="url") from None
        except TimeoutError:
            is_reusable = False
            metrics.VIDEO_WORKER_DEATHS.inc()
            raise MediaError("the video takes too long to decode", param="url") from None
        finally:
            cancellation.detach()
            if is_reusable and worker.pending_replies == 0:
                self._give_back(worker)
            else:
                worker.close()

    def close(self) -> None:
        """Ends the idle processes; those on loan end when they are given back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.close()

    def _take(self, digest: bytes) -> VideoWorker | None:
        """Takes the idle worker that has the video open, or the one that has been idle longest."""
        with self._lock:
            for worker in [worker for worker in self._idle if not worker.is_alive]:
                self._idle.remove(worker)
                worker.close()
            for index, worker in enumerate(self._idle):
                if worker.digest == digest:
                    return self._idle.pop(index)
            return self._idle.pop(0) if self._idle else None

    def _give_back(self, worker: VideoWorker) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(worker)
                return
        worker.close()
