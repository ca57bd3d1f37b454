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
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from llava_interleave_serve.server.errors import FetchError, LimitExceeded, MediaError, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.decoding import protocol
from llava_interleave_serve.server.media.decoding.memory_file import MemoryFile
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.native import build
from llava_interleave_serve.server.media.video.sampling import Sampling

PROCESS_MODULE = "llava_interleave_serve.server.media.decoding.process"
PASSED_VARIABLES = ("PATH", "PYTHONPATH", "VIRTUAL_ENV")  # what finds Python and our package; others may hold secrets
KEPT_BYTES = 4 << 20  # of the source's file, whose memory is used again
MediaKind = Literal["image", "video"]
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
    """A picture or a video to be decoded.

    Attributes:
        media: which of the two it is.
        source: the file, or the ASCII text of its data URL.
        sampling: of a video.

    """

    media: MediaKind
    source: bytes | bytearray | str = dataclasses.field(repr=False)
    sampling: Sampling | None = None

    def digest(self, key: str) -> str:
        """A digest of a video's source and the API key that sends it; empty for an image.

        By it a process knows whether it has the video open, and no key learns from the time what another has sent.
        """
        if self.media == "image":
            return ""
        data = self.source.encode("ascii") if isinstance(self.source, str) else self.source
        return hashlib.sha256(data).hexdigest() + key


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class SizeQuestion(_Message):
    """The process asks whether it may decode.

    Attributes:
        pixels: of a picture, or of one frame.
        pictures: of that size, one after another.

    """

    pixels: int = Field(ge=1)
    pictures: int = Field(ge=1)


class VideoFacts(_Message):
    """What `decode_video` returns beside the frames."""

    indices: list[int]
    times: list[float]
    duration: float
    fps: float


class Result(_Message):
    """The end of a job.

    Attributes:
        views: number of views.
        pixels: decoded, as the file holds them.
        data_url_bytes: of the file that was in a data URL; 0 without one.
        intervals: of the phases, in seconds of time.monotonic.
        video: facts of a video.

    """

    views: int = Field(ge=1)
    pixels: int = Field(ge=0)
    data_url_bytes: int = Field(ge=0)
    intervals: dict[Literal["fetch", "decode", "preprocess"], list[list[float]]]
    video: VideoFacts | None = None


class Refusal(_Message):
    """The job's error: one of REFUSALS, or MemoryError."""

    error: Literal["RequestError", "MediaError", "FetchError", "LimitExceeded", "MemoryError"]
    message: str = Field(max_length=1000)
    param: str | None = Field(max_length=20)


class Ready(_Message):
    """The process can run jobs, unless there is a failure to report."""

    failure: str = Field(max_length=1000)


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
        self._view_shape, self._max_frames = (resize.size, resize.size, 3), limits.max_frames
        self._media: MediaKind = "image"  # of the job
        self.digest = self.end_reason = ""
        settings = {
            "limits": dataclasses.asdict(limits),
            "image_size": resize.size,
            "scales_jpegs": resize.scales_jpegs,
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
        self.digest, self._media = digest, job.media
        self._room.shrink(math.prod(self._view_shape))
        self._send(
            {
                "media": job.media,
                "source_bytes": len(job.source),
                "is_url": isinstance(job.source, str),
                "sampling": None if job.sampling is None else dataclasses.asdict(job.sampling),
                "digest": digest,
            }
        )
        return await self._receive()

    async def go_on(self) -> DecodedMedia:
        """Answers the question with yes, and runs the job to its end."""
        self._send({})
        decoded = await self._receive()
        if isinstance(decoded, SizeQuestion):
            raise WorkerLost
        return decoded

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
        if self._media == "image":
            is_possible = result.views == 1 and result.video is None
        else:
            video = result.video
            is_possible = video is not None and result.views == len(video.indices) == len(video.times)
        if not is_possible or result.views > self._max_frames:
            raise ValueError
