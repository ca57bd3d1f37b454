"""Media are decoded in processes that can crash, hang or run out of memory; only the request at fault fails."""

import asyncio
import base64
import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from llava_interleave_serve.server.errors import MediaError, RequestError, Unavailable
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.decoding import protocol
from llava_interleave_serve.server.media.decoding.pool import DecodePool
from llava_interleave_serve.server.media.decoding.worker import Job
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.video.sampling import Sampling
from tests.support.image_files import encode
from tests.support.media.decode_jobs import COLOUR, IMAGE, decode, image_file, paused, pids, video_job
from tests.support.videos import video_files

pytestmark = pytest.mark.anyio
MUTANTS = 60


def _read(path: str) -> str:
    return Path(path).read_text()


async def has_ended(pid: int) -> None:
    """Waits until a process has ended."""
    async with asyncio.timeout(10):
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)


async def test_one_process_decodes_many_images_and_videos(pool: DecodePool, video: bytes) -> None:
    await decode(pool, IMAGE)
    first = pids(pool)
    for _ in range(3):
        image = await decode(pool, IMAGE)
        assert image.views.shape == (1, 16, 16, 3)
        assert (image.views == COLOUR).all()
        assert image.result.pixels == 1200
        assert len((await decode(pool, video_job(video))).views) == 4
        with pytest.raises(MediaError, match="not a JPEG"):
            await decode(pool, Job("image", b"no image"))
        with pytest.raises(MediaError, match="damaged"):
            await decode(pool, video_job(video[:200]))
        with pytest.raises(RequestError, match="start is") as refusal:
            await decode(pool, video_job(video, start=99.0))
        assert refusal.value.param == "start"
    assert pids(pool) == first


async def test_a_data_url_is_decoded_in_the_process(pool: DecodePool, video: bytes) -> None:
    url = "data:image/png;base64," + base64.b64encode(image_file()).decode()
    decoded = await decode(pool, Job("image", url))
    assert (decoded.views == COLOUR).all()
    assert decoded.result.data_url_bytes == len(image_file())
    with pytest.raises(RequestError, match="base64"):
        await decode(pool, Job("image", "data:image/png;base64,----"))
    url = "data:video/mp4;base64," + base64.b64encode(video).decode()
    from_url = await decode(pool, Job("video", url, Sampling(num_frames=4)))
    assert (from_url.views == (await decode(pool, video_job(video))).views).all()


async def test_a_large_source_and_a_small_one_after_it_are_read_whole(pool: DecodePool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    file = encode(Image.fromarray(noise), "BMP")
    assert len(file) > 4 << 20
    large = await decode(pool, Job("image", file))
    assert abs(float(large.views.mean()) - 127.5) < 5
    assert ((await decode(pool, IMAGE)).views == COLOUR).all()


async def test_a_process_that_ended_while_idle_is_replaced_without_an_error(pool: DecodePool) -> None:
    await decode(pool, IMAGE)
    (pid,) = pids(pool)
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # all its threads have ended, too
    await decode(pool, IMAGE)
    assert pid not in pids(pool)


@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_crash_of_the_process_is_an_error_of_that_medium(pool: DecodePool, video: bytes, kind: str) -> None:
    pid = await paused(pool)
    running = asyncio.ensure_future(decode(pool, IMAGE if kind == "image" else video_job(video)))
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(MediaError, match=f"the {kind} is damaged: its decoder gave up") as refusal:
        await running
    assert refusal.value.param == "url"
    assert (await decode(pool, IMAGE)).views.any()
    await has_ended(pid)


async def test_a_process_that_hangs_is_ended_at_the_time_limit(video: bytes) -> None:
    pool = DecodePool(Limits(decode_timeout=3), SquareResize(16))
    try:
        pid = await paused(pool)
        with pytest.raises(MediaError, match="the image takes too long to decode"):
            await decode(pool, IMAGE)
        await has_ended(pid)
    finally:
        pool.close()


async def test_a_process_cannot_use_more_memory_than_its_limit(pool: DecodePool) -> None:
    await decode(pool, IMAGE)
    (pid,) = pids(pool)
    small = DecodePool(
        Limits(decoder_memory_bytes=psutil.Process(pid).memory_info().vms + (64 << 20)), SquareResize(16)
    )
    job = Job("image", image_file(6000, 6000))
    try:
        with pytest.raises(MediaError, match="more memory"):
            await decode(small, job)
        await decode(small, IMAGE)
    finally:
        small.close()
    assert (await decode(pool, job)).views.any()


@pytest.mark.parametrize("reply", [
    {"views": 10**9, "pixels": 1, "data_url_bytes": 0, "intervals": {}},
    {"views": 1, "pixels": 1, "data_url_bytes": 0, "intervals": {}, "extra": 1},
    {"views": "1"}, {"error": "SystemExit", "message": "", "param": None}, {"pixels": -1, "pictures": 1}, {},
])  # fmt: skip
async def test_a_process_that_says_what_it_must_not_is_ended(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch, reply: dict[str, Any]
) -> None:
    """As after a file has taken the process over."""

    async def read(reader: asyncio.StreamReader) -> Any:
        return reply

    await decode(pool, IMAGE)
    (pid,) = pids(pool)
    with monkeypatch.context() as patch:
        patch.setattr(protocol, "read", read)
        with pytest.raises(MediaError, match="gave up"):
            await decode(pool, IMAGE)
    await has_ended(pid)
    await decode(pool, IMAGE)


async def test_a_process_is_confined_and_has_nothing_of_the_servers_environment(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAVA_INTERLEAVE_API_KEY", "secret")
    await decode(pool, IMAGE)
    (pid,) = pids(pool)
    assert "LLAVA_INTERLEAVE_API_KEY" not in psutil.Process(pid).environ()
    status, maps = (
        await asyncio.to_thread(_read, f"/proc/{pid}/status"),
        await asyncio.to_thread(_read, f"/proc/{pid}/maps"),
    )
    assert "NoNewPrivs:\t1" in status
    assert "media.so" in maps  # compiled by the server; the process may not open its file


async def test_a_process_ends_with_the_server() -> None:
    """Also while it decodes, when it does not look at its socket."""
    code = """
import asyncio, os, signal
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.decoding.worker import DecodeWorker
from llava_interleave_serve.server.media.image.resize import SquareResize
worker = DecodeWorker(Limits(), SquareResize(16), "pyav")
print(worker._process.pid, flush=True)
asyncio.run(asyncio.sleep(1))
os.kill(worker._process.pid, signal.SIGSTOP)
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    await has_ended(int(out))


async def test_damaged_videos_are_decoded_or_refused_with_a_media_error(video: bytes) -> None:
    pool = DecodePool(Limits(decode_timeout=5), SquareResize(16))
    rng = random.Random(0)
    outcomes = []
    for _ in range(MUTANTS):
        mutant = bytearray(video)
        for _ in range(rng.choice((1, 4, 20))):
            mutant[rng.randrange(8, len(mutant))] = rng.randrange(256)
        try:
            outcomes.append(len((await decode(pool, video_job(bytes(mutant)))).views))
        except RequestError as refusal:
            outcomes.append(refusal.status)
    assert set(outcomes) <= {1, 2, 3, 4, 400}
    assert 0 < outcomes.count(400) < MUTANTS
    assert len((await decode(pool, video_job(video))).views) == 4
    pool.close()


@pytest.mark.parametrize("parts", [[(0.5, 1.5), (3.0, 4.5)], [(3.0, 4.0), (0.5, 1.5)]])
async def test_a_video_that_is_read_from_its_start_again_is_read_whole(
    pool: DecodePool, tmp_path: Path, parts: list[tuple[float, float]]
) -> None:
    """The reader opens the file once more where an edit list has several parts."""
    options = {"g": "1000", "bf": "3", "sc_threshold": "0"}
    path = video_files.write(tmp_path / "whole.mp4", "libx264", options, video_files.pictures())
    data = video_files.with_edits(_read_bytes(path), parts)
    for source in (data, "data:video/mp4;base64," + base64.b64encode(data).decode()):
        decoded = await decode(pool, Job("video", source, Sampling(num_frames=25)))
        assert decoded.result.video is not None
        assert len(decoded.views) == round(10 * sum(end - begin for begin, end in parts))


async def test_a_process_that_cannot_be_started_is_no_fault_of_the_file(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = DecodePool(Limits(decoder_memory_bytes=60 << 20), SquareResize(16))
    try:
        with pytest.raises(Unavailable):
            await decode(small, IMAGE)
    finally:
        small.close()
    assert "cannot be started" in caplog.text
    pool = DecodePool(Limits(), SquareResize(16))
    before = psutil.Process().num_fds()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", _raise_no_room)
        for _ in range(5):
            with pytest.raises(Unavailable):
                await decode(pool, IMAGE)
    assert psutil.Process().num_fds() == before
    await decode(pool, IMAGE)
    pool.close()


def _raise_no_room(*arguments: Any, **options: Any) -> None:
    raise OSError(24, "Too many open files")


def _read_bytes(path: Path) -> bytes:
    return path.read_bytes()
