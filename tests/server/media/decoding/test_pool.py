"""The decode pool shares its processes fairly, and bounds what is decoded in them."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator

import psutil
import pytest

from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.decoding import pool as decode_pool
from llava_interleave_serve.server.media.decoding.pool import DecodePool
from llava_interleave_serve.server.media.decoding.worker import Job
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.requester import Requester
from tests.support.media.decode_jobs import IMAGE, LARGE_IMAGE, decode, paused, pids, video_job

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def without_room(decode_workers: int) -> AsyncIterator[tuple[DecodePool, Requester]]:
    """A pool, and a request that has taken all of its room for pixels."""
    limits = Limits(decode_workers=decode_workers, max_decoding_pixels=3_000_000, max_pixels=3_000_000)
    pool, requester = DecodePool(limits, SquareResize(16)), Requester()
    try:
        await pool._pixels.acquire(requester, 3_000_000)
        yield pool, requester
    finally:
        pool.close()


async def test_a_video_that_is_open_is_not_opened_again(pool: DecodePool, video: bytes) -> None:
    await asyncio.gather(decode(pool, IMAGE), decode(pool, IMAGE))
    assert len(pids(pool)) == 2
    opened = await decode(pool, video_job(video))
    assert "fetch" not in opened.result.intervals
    first = pool._idle[-1].worker
    await decode(pool, IMAGE)  # goes to the process without a video
    await decode(pool, video_job(video, start=1.0))
    assert pool._idle[-1].worker is first


async def test_the_last_idle_process_is_left_to_the_key_that_used_it(pool: DecodePool) -> None:
    polite, hostile = Requester("polite"), Requester("hostile")
    await decode(pool, IMAGE, polite)
    (kept,) = pids(pool)
    for _ in range(3):
        await asyncio.gather(*(decode(pool, IMAGE, hostile) for _ in range(4)))
    assert kept in pids(pool)
    assert [idle.worker._process.pid for idle in pool._idle if idle.key == "polite"] == [kept]
    before = pids(pool)
    await decode(pool, IMAGE, polite)
    assert pool._idle[-1].worker._process.pid == kept
    assert pids(pool) == before


async def test_a_process_that_another_key_left_is_taken_while_there_are_others(pool: DecodePool) -> None:
    await asyncio.gather(decode(pool, IMAGE, Requester("a")), decode(pool, IMAGE, Requester("b")))
    before = pids(pool)
    assert len(before) == 2
    await decode(pool, IMAGE, Requester("c"))
    assert pids(pool) == before


async def test_a_job_that_is_abandoned_ends_by_itself_or_is_ended(pool: DecodePool) -> None:
    await decode(pool, IMAGE)
    before = pids(pool)
    leaving = asyncio.ensure_future(decode(pool, IMAGE))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await decode(pool, IMAGE)
    assert pids(pool) >= before  # no process was lost by a picture of a millisecond

    before = pids(pool)
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    leaving = asyncio.ensure_future(decode(pool, IMAGE))
    await asyncio.sleep(0.05)
    leaving.cancel()
    started = time.monotonic()
    while len(pids(pool) & before) == len(before):
        assert time.monotonic() - started < 10
        await asyncio.sleep(0.01)
    assert time.monotonic() - started > decode_pool.ABANDONED_SECONDS / 2


async def test_a_job_that_is_abandoned_before_its_turn_never_runs(video: bytes) -> None:
    pool = DecodePool(Limits(decode_workers=1), SquareResize(16))
    try:
        pid = await paused(pool)
        requester = Requester()
        running = asyncio.ensure_future(decode(pool, IMAGE, requester))
        waiting = asyncio.ensure_future(decode(pool, Job("image", b"never read"), requester))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        os.kill(pid, signal.SIGCONT)
        assert (await running).views.any()
        assert not pool._slots._waiting
    finally:
        pool.close()


async def test_of_two_keys_the_one_with_nothing_decoded_comes_next() -> None:
    pool = DecodePool(Limits(decode_workers=1), SquareResize(16))
    finished: list[str] = []

    async def run(requester: Requester) -> None:
        await pool.decode(IMAGE, requester)
        finished.append(requester.key)

    try:
        greedy, polite = Requester("A"), Requester("B")
        await asyncio.gather(run(greedy), run(polite))  # both processes have started
        queued = [asyncio.ensure_future(run(greedy)) for _ in range(200)]
        await asyncio.sleep(0.01)
        await run(polite)
        assert not all(task.done() for task in queued)  # behind whom it would have come
        await asyncio.gather(*queued)
    finally:
        pool.close()


async def test_a_key_that_has_nothing_decoded_need_not_wait_for_a_process() -> None:
    pool = DecodePool(Limits(decode_workers=1), SquareResize(16))
    try:
        pid = await paused(pool, Requester("A"))  # the only process is at work on this key's job, for ever
        hanging = asyncio.ensure_future(decode(pool, IMAGE, Requester("A")))
        waiting = asyncio.ensure_future(decode(pool, IMAGE, Requester("A")))
        await asyncio.sleep(0.05)
        assert (await decode(pool, IMAGE, Requester("B"))).views.any()
        assert not hanging.done()
        assert not waiting.done()
        os.kill(pid, signal.SIGCONT)
        await asyncio.gather(hanging, waiting)
    finally:
        pool.close()


async def test_large_pictures_are_decoded_one_after_another_within_the_pixels_allowed() -> None:
    pool = DecodePool(Limits(decode_workers=2, max_decoding_pixels=3_000_000), SquareResize(16))
    most, taken = 0, pool._pixels.acquire

    async def acquire(requester: Requester, weight: int = 1) -> None:
        nonlocal most
        await taken(requester, weight)
        most = max(most, pool._pixels._held_by_key.total())

    pool._pixels.acquire = acquire  # type: ignore[method-assign]
    try:
        requester = Requester()
        await asyncio.gather(*(decode(pool, LARGE_IMAGE, requester) for _ in range(6)))
        assert most == 3_000_000
        assert requester.pixels == 6 * 3_000_000
    finally:
        pool.close()


async def test_a_request_has_only_so_many_pixels_decoded() -> None:
    pool = DecodePool(Limits(decode_workers=1, max_request_pixels=7_000_000), SquareResize(16))
    try:
        requester = Requester()
        for _ in range(2):
            await decode(pool, LARGE_IMAGE, requester)
        before = pids(pool)
        with pytest.raises(LimitExceeded, match="more than the 7000000 pixels") as refusal:
            await decode(pool, LARGE_IMAGE, requester)
        assert refusal.value.param == "url"
        await decode(pool, LARGE_IMAGE)  # another request
        assert pids(pool) == before
    finally:
        pool.close()


async def test_idle_processes_close_their_video_and_end(video: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "IDLE_SECONDS", 0.05)
    pool = DecodePool(Limits(), SquareResize(16))
    await decode(pool, video_job(video))
    (pid,) = pids(pool)
    await asyncio.sleep(0.3)
    assert not pids(pool)
    assert not psutil.pid_exists(pid)
    assert len((await decode(pool, video_job(video))).views) == 4
    pool.close()


async def test_closing_the_pool_ends_its_processes(pool: DecodePool) -> None:
    pid = await paused(pool)
    running = asyncio.ensure_future(decode(pool, IMAGE))
    await asyncio.sleep(0.05)
    pool.close()
    with pytest.raises(MediaError):
        await running
    assert not psutil.pid_exists(pid)


async def test_a_client_that_leaves_while_a_process_starts_leaves_one_process_and_no_descriptors() -> None:
    pool = DecodePool(Limits(decode_workers=1), SquareResize(16))
    try:
        await decode(pool, IMAGE)
        before = psutil.Process().num_fds()
        for delay in (0.0, 0.01, 0.05, 0.1, 0.2):
            for pid in pids(pool):
                os.kill(pid, signal.SIGKILL)
                await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            leaving = asyncio.ensure_future(decode(pool, IMAGE))
            await asyncio.sleep(delay)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await decode(pool, IMAGE)
            assert len(pids(pool)) == 1
        assert psutil.Process().num_fds() <= before + 1  # a process's end may be waited for
    finally:
        pool.close()


async def test_a_job_that_is_abandoned_while_it_waits_for_pixels_frees_its_slot() -> None:
    async with without_room(decode_workers=2) as (pool, requester):
        leaving = asyncio.ensure_future(decode(pool, LARGE_IMAGE, requester))
        async with asyncio.timeout(10):
            while not pool._pixels._waiting:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await asyncio.sleep(0.05)
        assert not pool._slots._held_by_key
        assert not pool._pixels._waiting


async def test_a_job_that_is_abandoned_before_it_asks_for_pixels_frees_its_slot_and_its_process() -> None:
    async with without_room(decode_workers=1) as (pool, requester):
        pid = await paused(pool)
        leaving = asyncio.ensure_future(decode(pool, LARGE_IMAGE, requester))
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(decode_pool.ABANDONED_SECONDS):
            while pool._slots._held_by_key:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        await decode(pool, IMAGE)
        assert pids(pool) == {pid}


def test_a_video_is_known_again_to_the_key_that_has_sent_it(video: bytes) -> None:
    """Or the time would tell a key what another has sent."""
    job = video_job(video)
    assert job.digest("A") == job.digest("A") != job.digest("B")
    assert IMAGE.digest("A") == ""
