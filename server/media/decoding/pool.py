"""Decodes images and videos in worker processes, within bounds of time, memory and number, fairly by API key."""

import asyncio
import logging
import threading
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from llava_interleave_serve.server.errors import MediaError, RequestError, Unavailable
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.decoding.messages import SizeQuestion
from llava_interleave_serve.server.media.decoding.worker import DecodedMedia, DecodeWorker, Job, WorkerLost
from llava_interleave_serve.server.media.fair_semaphore import FairSemaphore
from llava_interleave_serve.server.media.fair_threads import FairThreads
from llava_interleave_serve.server.media.futures import take_exception
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.native import build
from llava_interleave_serve.server.media.requester import Requester, RequestMediaTooLarge
from llava_interleave_serve.server.observability import metrics

T = TypeVar("T")
# A job that nobody waits for any more ends by itself within this time, or its process is ended. Starting another takes
# 0.2 s, which a client could cause with every request that it sends and leaves.
ABANDONED_SECONDS = 2.0
IDLE_SECONDS = 60.0  # without a job, after which a process ends
LATE = "late"  # the reason of a process that the server ends
# Larger sources are digested and written in a thread; smaller ones take a millisecond or less.
DIGESTED_BYTES = 1 << 20
WRITTEN_BYTES = 4 << 20
THREADS = 8  # which start and end processes, and write large sources
START_SECONDS = 60.0  # in which a process must be ready
logger = logging.getLogger("llava_interleave_serve")


class _Idle(NamedTuple):
    """A process without a job.

    Attributes:
        key: of the request that it worked for last.
        timer: ends it.

    """

    worker: DecodeWorker
    key: str
    timer: asyncio.TimerHandle


@dataclass(eq=False)
class _Run:
    """One run of a job for a request.

    Attributes:
        worker: the process that is at work on it; None while none is.
        is_waiting: True while it waits for its turn, or for other pictures to be decoded.
        is_abandoned: True if nobody waits for its result any more.
        seconds_left: that its process may still take.

    """

    job: Job
    requester: Requester
    seconds_left: float
    worker: DecodeWorker | None = None
    is_waiting: bool = True
    is_abandoned: bool = False


class _Abandoned(Exception):
    """A run stops, since nobody waits for its result any more."""


class DecodePool:
    """Runs jobs in at most `decode_workers` processes, which are started when they are needed, and kept.

    Keys have their turns. A key that has nothing decoded may have one job run beside the `decode_workers`, so that it
    does not wait for another key's. Of large pictures, at most `max_decoding_pixels` are decoded at once, and one more
    for a key that has none.
    """

    def __init__(self, limits: Limits, resize: SquareResize, video_reader: str = "pyav") -> None:
        """video_reader: one of VIDEO_READERS."""
        self._limits, self._resize, self._video_reader = limits, resize, video_reader
        workers = limits.decode_workers
        self._slots = FairSemaphore(workers, reserve=workers)
        self._pixels = FairSemaphore(limits.max_decoding_pixels, reserve=limits.max_pixels)
        self._threads = FairThreads("decode", THREADS)
        # So that the first request does not wait for the compiler.
        threading.Thread(target=build.compiled, name="compile", daemon=True).start()
        self._workers: set[DecodeWorker] = set()
        self._idle: list[_Idle] = []  # the most recently used last
        self._ending: set[asyncio.Future[None]] = set()
        self._is_closed = False

    async def decode(self, job: Job, requester: Requester) -> DecodedMedia:
        """Runs a job.

        Raises RequestError of an option of the part, also if the process ends or is late, and Unavailable if none can
        be started.
        """
        run = _Run(job, requester, self._limits.decode_timeout)
        task = asyncio.create_task(self._run(run))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._abandon(run, task)
            raise
        finally:
            del task, run  # an error's traceback refers to this frame, and the task to the error

    def close(self) -> None:
        """Ends all processes."""
        self._is_closed = True
        for idle in self._idle:
            idle.timer.cancel()
        for worker in self._workers:
            worker.kill("closing")
        for idle in self._idle:
            idle.worker.close()
            idle.worker.wait()
        self._threads.close()

    async def _run(self, run: _Run) -> DecodedMedia:
        """Runs a job when its turn has come. The slot is held until the process is done, or ended."""
        async with self._slots.slot(run.requester):
            run.is_waiting = False
            digest = await self._digest(run)
            worker = run.worker = self._take(digest, run.requester.key) or await self._start(run.requester)
            is_reusable = False
            try:
                if run.is_abandoned:
                    raise _Abandoned
                decoded = await self._decode(worker, run, digest)
                is_reusable = True
            except (RequestError, _Abandoned):
                is_reusable = True
                raise
            except MemoryError:
                raise _error(run, "takes more memory to decode than is allowed") from None
            except WorkerLost:
                if worker.end_reason in ("", LATE):
                    metrics.DECODE_WORKER_DEATHS.inc()
                what = "takes too long to decode" if worker.end_reason == LATE else "is damaged: its decoder gave up"
                raise _error(run, what) from None
            finally:
                run.worker = None
                if is_reusable and not worker.end_reason and not self._is_closed:
                    self._keep(worker, run.requester.key)
                else:
                    self._end(worker, run.requester)
        return decoded

    async def _digest(self, run: _Run) -> str:
        key = run.requester.key
        if run.job.media != "video" or len(run.job.source) < DIGESTED_BYTES:
            return run.job.digest(key)
        return await self._threads.run(run.requester, run.job.digest, key)

    async def _decode(self, worker: DecodeWorker, run: _Run, digest: str) -> DecodedMedia:
        if len(run.job.source) < WRITTEN_BYTES:
            worker.load(run.job.source)
        else:
            await self._threads.run(run.requester, worker.load, run.job.source)
        reply = await self._within_time(worker, run, worker.begin(run.job, digest))
        counted = 0  # pixels of each picture left that are in those of the request
        while isinstance(reply, SizeQuestion):
            # Only a video asks again, about a frame that is larger than the last.
            if counted and (run.job.media != "video" or reply.pixels <= counted):
                raise WorkerLost
            if run.is_abandoned:
                await self._within_time(worker, run, worker.refuse())
                raise _Abandoned
            run.requester.pixels += (reply.pixels - counted) * reply.pictures
            counted = reply.pixels
            if run.requester.pixels > self._limits.max_request_pixels:
                await self._within_time(worker, run, worker.refuse())
                most = f"the {self._limits.max_request_pixels} pixels to decode allowed"
                raise RequestMediaTooLarge(f"with it, the request has more than {most}", param="url")
            run.is_waiting = True
            # A video that asks again gives its room back first: two that wait for more with theirs would wait for ever.
            async with self._pixels.slot(run.requester, reply.pixels):
                run.is_waiting = False
                reply = await self._within_time(worker, run, worker.go_on())
        return reply

    async def _within_time(self, worker: DecodeWorker, run: _Run, step: Awaitable[T]) -> T:
        """The result of a step of a job; the process is ended at the time limit of the whole job."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        timer = loop.call_at(started + run.seconds_left, worker.kill, LATE)
        try:
            return await step
        finally:
            timer.cancel()
            run.seconds_left -= loop.time() - started

    def _abandon(self, run: _Run, task: asyncio.Task[DecodedMedia]) -> None:
        """Ends a run for which nobody waits any more: at once while it waits, else after ABANDONED_SECONDS."""
        task.add_done_callback(take_exception)
        run.is_abandoned = True
        if run.is_waiting:
            task.cancel()
        else:
            asyncio.get_running_loop().call_later(ABANDONED_SECONDS, _end_run, run)

    async def _start(self, requester: Requester) -> DecodeWorker:
        """Starts a process. Raises Unavailable, and logs why, if that fails."""
        try:
            new = await self._threads.run(requester, DecodeWorker, self._limits, self._resize, self._video_reader)
        except OSError as error:
            raise _cannot_start(error) from None
        self._workers.add(new)
        try:
            async with asyncio.timeout(START_SECONDS):
                await new.connect()
        except (WorkerLost, TimeoutError) as error:
            self._end(new, requester)
            raise _cannot_start(error) from None
        return new

    def _take(self, digest: str, key: str) -> DecodeWorker | None:
        """Takes the idle process that has this video open; else one without a video; else the one idle longest.

        Among those without a video, one of the key's is taken first. The last idle process is left to the key that it
        worked for, so that another key's many jobs, or those that it leaves, do not have it wait for a new one.
        """
        while self._idle and not (len(self._idle) == 1 and self._idle[0].key != key):
            with_this = [each for each in self._idle if digest and each.worker.digest == digest]
            without = sorted((each for each in self._idle if not each.worker.digest), key=lambda each: each.key == key)
            idle = (with_this or without or self._idle[:1])[-1]
            self._idle.remove(idle)
            idle.timer.cancel()
            if idle.worker.is_alive:
                return idle.worker
            self._end(idle.worker, Requester())
        return None

    def _keep(self, worker: DecodeWorker, key: str) -> None:
        timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_idle, worker)
        self._idle.append(_Idle(worker, key, timer))

    def _end_idle(self, worker: DecodeWorker) -> None:
        self._idle = [each for each in self._idle if each.worker is not worker]
        self._end(worker, Requester())

    def _end(self, worker: DecodeWorker, requester: Requester) -> None:
        """Ends a process, and waits for its end in a thread."""
        self._workers.discard(worker)
        worker.close()
        if self._is_closed:
            worker.wait()
        else:
            waiting = asyncio.ensure_future(self._threads.run(requester, worker.wait))
            self._ending.add(waiting)
            waiting.add_done_callback(self._ending.discard)


def _error(run: _Run, what: str) -> MediaError:
    return MediaError(f"the {'video' if run.job.media == 'video' else 'image'} {what}", param="url")


def _cannot_start(error: Exception) -> Unavailable:
    logger.error("a process that decodes media cannot be started: %s", error or "it ended, or was not ready in time")
    return Unavailable("this server cannot decode images and videos now")


def _end_run(run: _Run) -> None:
    if run.worker is not None:
        run.worker.kill("abandoned")
