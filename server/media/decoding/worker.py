"""One process that decodes media (process.py), as the server sees it."""

import asyncio
import contextlib
import dataclasses
import hashlib
import math
import os
import socket
import subprocess
import sys
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import TypeAdapter

from llava_interleave_serve.model_executor.visual import Resizing
from llava_interleave_serve.server.errors import FetchError, LimitExceeded, MediaError, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.decoding import protocol
from llava_interleave_serve.server.media.decoding.memory_file import MemoryFile
from llava_interleave_serve.server.media.decoding.messages import Ready, Refusal, Result, SizeQuestion
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.native import build
from llava_interleave_serve.server.media.video.sampling import Sampling

PROCESS_MODULE = "llava_interleave_serve.server.media.decoding.process"
PASSED_VARIABLES = ("PATH", "PYTHONPATH", "VIRTUAL_ENV")  # what finds Python and our package; others may hold secrets
KEPT_BYTES = 4 << 20  # of the source's file, whose memory is used again
MediaKind = Literal["image", "size", "video"]  # the size is an image's
# OpenBLAS would start a thread for each processor, with 40 MB of address space, and nothing here multiplies matrices.
# glibc's allocator gives each picture's memory back to the system, and page faults then take up to a third of the time
# of decoding the next. The process gives it back when it has been idle for a second.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}
REFUSALS = {each.__name__: each for each in (RequestError, MediaError, FetchError, LimitExceeded)}


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A picture or a video to be decoded, or a picture whose size is wanted.

    Attributes:
        media: which of these it is.
        source: the file, or the ASCII text of its data URL.
        sampling: of a video.
        resizing: how the views of a picture are made.

    """

    media: MediaKind
    source: bytes | bytearray | str = dataclasses.field(repr=False)
    sampling: Sampling | None = None
    resizing: Resizing = "squash"

    def digest(self, key: str) -> str:
        """A digest of a video's source and the API key that sends it; empty for others.

        By it a process knows whether it has the video open, and no key learns from the time what another has sent.
        """
        if self.media != "video":
            return ""
        data = self.source.encode("ascii") if isinstance(self.source, str) else self.source
        return hashlib.sha256(data).hexdigest() + key


M = TypeVar("M")
_READY: TypeAdapter[Ready] = TypeAdapter(Ready)
_REPLY: TypeAdapter[SizeQuestion | Result | Refusal] = TypeAdapter(SizeQuestion | Result | Refusal)


class WorkerLost(Exception):
    """The process has ended, has been ended, or sends what it must not; it must be closed."""


@dataclasses.dataclass(frozen=True, slots=True)
class DecodedMedia:
    """The views of a job, uint8 [n, S, S, 3], RGB, and what the process says of them."""

    views: np.ndarray = dataclasses.field(repr=False)
    result: Result


class DecodeWorker:
    """One process that runs one job at a time.

    Its methods raise RequestError, of an option of the part, for what cannot be decoded, and MemoryError and WorkerLost
    after which the worker must be closed.

    Attributes:
        digest: of the video that the process had open last.
        end_reason: why the server ended the process; empty if it did not.

    """

    def __init__(self, limits: Limits, resize: SquareResize, video_reader: str) -> None:
        """Starts the process, which takes 0.2 s of a processor; `connect` comes next.

        video_reader: one of VIDEO_READERS. Raises OSError where the system has no room for a process.
        """
        self._resize, self._max_frames = resize, limits.max_frames
        self._view_shape = resize.size, resize.size, 3
        self._job = Job("image", b"")
        self.digest = self.end_reason = ""
        settings = {
            "limits": dataclasses.asdict(limits),
            "image_size": resize.size,
            "scales_jpegs": resize.scales_jpegs,
            "drops_alpha": resize.drops_alpha,
            "resolutions": resize.any_resolution and resize.any_resolution.resolutions,
            "video_reader": video_reader,
        }
        library = build.compiled()
        with contextlib.ExitStack() as opened:
            self._source, self._room = MemoryFile(), MemoryFile()
            opened.callback(self._source.close)
            opened.callback(self._room.close)
            self._socket, other_end = socket.socketpair()
            opened.callback(self._socket.close)
            with other_end:
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-P", "-m", PROCESS_MODULE, str(other_end.fileno())],
                    env={name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ} | ENVIRONMENT,
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[other_end.fileno()],
                )
            opened.callback(self.wait)
            opened.callback(self._process.kill)
            fds = [self._source.fd, self._room.fd, *([] if library is None else [library])]
            protocol.send_with_descriptors(self._socket, settings, fds)
            self._opened = opened.pop_all()

    async def connect(self) -> None:
        """Connects the event loop to the process, and waits until this is ready. Raises WorkerLost with its reason."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._socket)
        ready = await self._read(_READY)
        if ready.failure:
            raise WorkerLost(ready.failure)

    def load(self, source: bytes | bytearray | str) -> None:
        """Puts the source of the next job where the process reads it. May be called in a thread."""
        self._source.write(source.encode("ascii") if isinstance(source, str) else source)

    async def begin(self, job: Job, digest: str) -> SizeQuestion | DecodedMedia:
        """Runs a job to its end, or up to a question, which `go_on` or `refuse` answers. Its source is loaded.

        digest: of the job.
        """
        self.digest, self._job = digest, dataclasses.replace(job, source=b"")
        self._room.shrink(math.prod(self._view_shape))
        self._send(
            {
                "media": job.media,
                "source_bytes": len(job.source),
                "is_url": isinstance(job.source, str),
                "resizing": job.resizing,
                "sampling": None if job.sampling is None else dataclasses.asdict(job.sampling),
                "digest": digest,
            }
        )
        return await self._receive()

    async def go_on(self) -> SizeQuestion | DecodedMedia:
        """Answers the question with yes, and runs the job to its end, or up to the next question."""
        self._send({})
        return await self._receive()

    async def refuse(self) -> None:
        """Answers the question with no; the process is free for another job then."""
        self._send({"refused": True})
        try:
            await self._receive()
        except MediaError:
            return
        raise WorkerLost

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self, reason: str) -> None:
        """Ends the process at once; who waits for its reply gets WorkerLost."""
        self.end_reason = reason
        self._process.kill()

    def close(self) -> None:
        """Ends the process and closes what the server has of it, from the event loop's thread; `wait` comes next."""
        self._process.kill()
        self._opened.pop_all()
        with contextlib.suppress(AttributeError):  # never connected
            self._writer.close()
        self._socket.close()
        self._source.close()
        self._room.close()

    def wait(self) -> None:
        """Waits for the end of the process, whose memory takes the system some time to free."""
        self._process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(protocol.pack(message))

    async def _read(self, kind: TypeAdapter[M]) -> M:
        try:
            return kind.validate_python(await protocol.read(self._reader))
        except (EOFError, OSError, ValueError, RecursionError):  # ValidationError is a ValueError
            raise WorkerLost from None

    async def _receive(self) -> SizeQuestion | DecodedMedia:
        reply = await self._read(_REPLY)
        if isinstance(reply, SizeQuestion):
            return reply
        self._source.shrink(KEPT_BYTES)
        if isinstance(reply, Result):
            try:
                self._check(reply)
                return DecodedMedia(self._room.read_array((reply.views, *self._view_shape)), reply)
            except (EOFError, OSError, ValueError):
                raise WorkerLost from None
        if reply.error == "MemoryError":
            raise MemoryError
        raise REFUSALS[reply.error](reply.message, param=reply.param)

    def _check(self, result: Result) -> None:
        """Raises ValueError for a result that is not one of the job's."""
        video, size, views = result.video, result.size, -1
        if self._job.media == "video":
            if video is not None and size is None and len(video.indices) == len(video.times) <= self._max_frames:
                views = len(video.indices) or -1
        elif video is None and size is not None:
            views = 0
            if self._job.media == "image":
                views = self._resize.layout(*size).num_views if self._job.resizing == "anyres" else 1
        if result.views != views:
            raise ValueError
