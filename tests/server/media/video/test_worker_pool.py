"""The process that decodes a video can crash, hang or run out of memory, and only the request for that video fails."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from llava_interleave_serve.server.errors import MediaError, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.video.decode import Video, decode_video
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.media.video.worker_pool import CancellationHandle, VideoWorkerPool
from llava_interleave_serve.server.observability.timing import RequestTiming

MUTANTS = 60


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    noise = np.random.default_rng(0)
    for _ in range(30):
        writer.write(noise.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    return path.read_bytes()


@pytest.fixture
def workers() -> Iterator[VideoWorkerPool]:
    workers = VideoWorkerPool(Limits().video_memory_bytes)
    yield workers
    workers.close()


def decode(workers: VideoWorkerPool, data: bytes, limits: Limits | None = None, **sampling: float) -> Video:
    options, resize, limits = Sampling(num_frames=4, **sampling), SquareResize(16), limits or Limits()
    return decode_video(data, options, resize, limits, workers, RequestTiming(), CancellationHandle())


def pid_of_idle_process(workers: VideoWorkerPool) -> int:
    with workers.borrow(b"", CancellationHandle()) as worker:
        return worker._process.pid


def test_one_worker_process_serves_many_videos(workers: VideoWorkerPool, video: bytes) -> None:
    first = pid_of_idle_process(workers)
    for _ in range(3):
        assert len(decode(workers, video).frames) == 4
        with pytest.raises(MediaError, match="damaged"):
            decode(workers, video[:200])
        with pytest.raises(RequestError, match="start is"):
            decode(workers, video, start=99.0)
    assert pid_of_idle_process(workers) == first


def test_a_worker_process_that_ended_while_idle_is_replaced_without_an_error(
    workers: VideoWorkerPool, video: bytes
) -> None:
    pid = pid_of_idle_process(workers)
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        time.sleep(0.001)
    assert len(decode(workers, video).frames) == 4
    assert pid_of_idle_process(workers) != pid


def test_a_worker_crash_while_frames_are_decoded_is_an_error_of_that_video(
    workers: VideoWorkerPool, video: bytes
) -> None:
    def crash() -> None:
        with workers.borrow(b"", CancellationHandle()) as worker:
            worker.open(video, b"a digest", time.monotonic() + 10)
            worker.request_frames([0, 1])
            worker.receive_frames()
            os.kill(worker._process.pid, signal.SIGKILL)
            worker._process.wait()
            worker.request_frames([2, 3])
            worker.receive_frames()

    with pytest.raises(MediaError, match="its decoder gave up") as refusal:
        crash()
    assert refusal.value.param == "url"
    assert len(decode(workers, video).frames) == 4


def test_a_video_that_is_open_already_is_not_opened_again(workers: VideoWorkerPool, video: bytes) -> None:
    def times_of(data: bytes, digest: bytes) -> np.ndarray:
        with workers.borrow(digest, CancellationHandle()) as worker:
            return worker.open(data, digest, time.monotonic() + 10)[0]

    first = times_of(video, b"a digest")
    assert times_of(b"not read", b"a digest") is first
    assert len(times_of(video, b"another digest")) == len(first)
    assert times_of(video, b"a digest") is not first


def test_cancelling_a_video_ends_its_worker_process_at_once(workers: VideoWorkerPool, video: bytes) -> None:
    pid, cancellation, ended = pid_of_idle_process(workers), CancellationHandle(), threading.Event()
    os.kill(pid, signal.SIGSTOP)  # so that it never answers

    def decode_until_cancelled() -> None:
        with pytest.raises(MediaError):
            decode_video(
                video, Sampling(num_frames=4), SquareResize(16), Limits(), workers, RequestTiming(), cancellation
            )
        ended.set()

    thread = threading.Thread(target=decode_until_cancelled)
    thread.start()
    cancellation.cancel()
    assert ended.wait(10)
    thread.join()
    assert not Path(f"/proc/{pid}").exists()


def test_a_worker_process_that_hangs_is_ended_at_the_time_limit(workers: VideoWorkerPool, video: bytes) -> None:
    pid = pid_of_idle_process(workers)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(MediaError, match="too long"):
        decode(workers, video, Limits(decode_timeout=0.3))
    assert len(decode(workers, video).frames) == 4
    assert not Path(f"/proc/{pid}").exists()


def test_a_worker_process_cannot_use_more_memory_than_its_limit(
    workers: VideoWorkerPool, video: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "large.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (6000, 6000))
    writer.write(np.zeros((6000, 6000, 3), np.uint8))
    writer.release()
    decode(workers, video)
    statm = Path(f"/proc/{pid_of_idle_process(workers)}/statm").read_text()
    small = VideoWorkerPool(int(statm.split()[0]) * os.sysconf("SC_PAGESIZE") + (64 << 20))
    try:
        with pytest.raises(MediaError):
            decode(small, path.read_bytes())
        assert len(decode(small, video).frames) == 4
    finally:
        small.close()
    assert len(decode(workers, path.read_bytes()).frames) == 1


def test_videos_are_decoded_at_the_same_time(workers: VideoWorkerPool, video: bytes) -> None:
    expected = decode(workers, video).frames
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(decode(workers, video).frames)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all((frames == expected).all() for frames in results)


def test_damaged_videos_are_decoded_or_refused_with_a_media_error(workers: VideoWorkerPool, video: bytes) -> None:
    rng = random.Random(0)
    outcomes = []
    for _ in range(MUTANTS):
        mutant = bytearray(video)
        for _ in range(rng.choice((1, 4, 20))):
            mutant[rng.randrange(8, len(mutant))] = rng.randrange(256)
        try:
            outcomes.append(len(decode(workers, bytes(mutant), Limits(decode_timeout=5)).frames))
        except RequestError as refusal:
            outcomes.append(refusal.status)
    assert set(outcomes) <= {1, 2, 3, 4, 400}
    assert 0 < outcomes.count(400) < MUTANTS
    assert len(decode(workers, video).frames) == 4
