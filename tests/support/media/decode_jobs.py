"""Jobs of the decode pool, and the pool's processes."""

import os
import signal
from typing import Any

from PIL import Image

from llava_interleave_serve.server.media.decoding.pool import DecodePool
from llava_interleave_serve.server.media.decoding.worker import DecodedMedia, Job
from llava_interleave_serve.server.media.requester import Requester
from llava_interleave_serve.server.media.video.sampling import Sampling
from tests.support.image_files import encode

COLOUR = (200, 30, 40)


def image_file(width: int = 40, height: int = 30) -> bytes:
    """A PNG of one COLOUR."""
    return encode(Image.new("RGB", (width, height), COLOUR))


IMAGE = Job("image", image_file())
LARGE_IMAGE = Job("image", image_file(2000, 1500))  # so large that the server is asked first


def video_job(data: bytes, **sampling: Any) -> Job:
    return Job("video", data, Sampling(num_frames=4, **sampling))


async def decode(pool: DecodePool, job: Job, requester: Requester | None = None) -> DecodedMedia:
    """Runs a job for a request of its own, if no other is given."""
    return await pool.decode(job, requester or Requester())


def pids(pool: DecodePool) -> set[int]:
    """The ids of the pool's processes."""
    return {worker._process.pid for worker in pool._workers}


async def paused(pool: DecodePool, requester: Requester | None = None) -> int:
    """Stops the one process of the pool, which has worked for the request, so that it never answers; returns its id."""
    await decode(pool, IMAGE, requester)
    (pid,) = pids(pool)
    os.kill(pid, signal.SIGSTOP)
    return pid
