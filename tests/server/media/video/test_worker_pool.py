"""That a video's decoder can crash, hang or run out of memory, and nothing but its request is lost."""

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
from llava_interleave_serve.server.media.video.decode import Sampling, Video, decode_video
from llava_interleave_serve.server.media.video.worker_pool import Leash, VideoWorkers
from llava_interleave_serve.server.observability.timing import Phases

MUTANTS = 60


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    noise = np.random.default_rng(0)
    for _ in range(30):
        writer.write(noise.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    return path.read_bytes()


@pytest.fixture
def workers() -> Iterator[VideoWorkers]:
    workers = VideoWorkers(Limits().video_memory_bytes)
    yield workers
    workers.close()


def read(workers: VideoWorkers, data: bytes, limits: Limits | None = None, **sampling: float) -> Video:
    return decode_video(
        data, Sampling(num_frames=4, **sampling), SquareResize(16), limits or Limits(), workers, Phases(), Leash()
    )


def process_of(workers: VideoWorkers) -> int:
    with workers.borrow(b"", Leash()) as worker:
        return worker._process.pid


def test_one_process_serves_many_videos(workers: VideoWorkers, film: bytes) -> None:
    first = process_of(workers)
    for _ in range(3):
        assert len(read(workers, film).frames) == 4
        with pytest.raises(MediaError, match="damaged"):
            read(workers, film[:200])
        with pytest.raises(RequestError, match="start is"):
            read(workers, film, start=99.0)
    assert process_of(workers) == first


def test_a_process_that_died_while_idle_is_replaced_and_nobody_notices(workers: VideoWorkers, film: bytes) -> None:
    pid = process_of(workers)
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        time.sleep(0.001)
    assert len(read(workers, film).frames) == 4
    assert process_of(workers) != pid


def test_a_crash_while_frames_are_read_is_one_too(workers: VideoWorkers, film: bytes) -> None:
    def crash() -> None:
        with workers.borrow(b"", Leash()) as worker:
            worker.open(film, b"film", time.monotonic() + 10)
            worker.ask([0, 1])
            worker.pictures()
            os.kill(worker._process.pid, signal.SIGKILL)
            worker._process.wait()
            worker.ask([2, 3])
            worker.pictures()

    with pytest.raises(MediaError, match="its decoder gave up") as refusal:
        crash()
    assert refusal.value.param == "url"
    assert len(read(workers, film).frames) == 4


def test_the_index_of_a_video_seen_again_is_kept(workers: VideoWorkers, film: bytes) -> None:
    def index_of(data: bytes, digest: bytes) -> np.ndarray:
        with workers.borrow(digest, Leash()) as worker:
            return worker.open(data, digest, time.monotonic() + 10)[0]

    first = index_of(film, b"film")
    assert index_of(b"not looked at", b"film") is first
    assert len(index_of(film, b"another name of it")) == len(first)
    assert index_of(film, b"film") is not first


def test_whoever_lets_go_of_a_video_ends_its_decoder_within_a_moment(workers: VideoWorkers, film: bytes) -> None:
    pid, leash, ended = process_of(workers), Leash(), threading.Event()
    os.kill(pid, signal.SIGSTOP)  # at it for ever

    def wait_for_it() -> None:
        with pytest.raises(MediaError):
            decode_video(film, Sampling(num_frames=4), SquareResize(16), Limits(), workers, Phases(), leash)
        ended.set()

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    leash.cut()
    assert ended.wait(10)
    thread.join()
    assert not Path(f"/proc/{pid}").exists()


def test_a_decoder_that_hangs_is_ended_at_the_limit(workers: VideoWorkers, film: bytes) -> None:
    pid = process_of(workers)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(MediaError, match="too long"):
        read(workers, film, Limits(decode_timeout=0.3))
    assert len(read(workers, film).frames) == 4
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_has_no_more_memory_than_it_may(workers: VideoWorkers, film: bytes, tmp_path: Path) -> None:
    path = tmp_path / "large.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (6000, 6000))
    writer.write(np.zeros((6000, 6000, 3), np.uint8))
    writer.release()
    read(workers, film)
    statm = Path(f"/proc/{process_of(workers)}/statm").read_text()
    small = VideoWorkers(int(statm.split()[0]) * os.sysconf("SC_PAGESIZE") + (64 << 20))
    try:
        with pytest.raises(MediaError):
            read(small, path.read_bytes())
        assert len(read(small, film).frames) == 4
    finally:
        small.close()
    assert len(read(workers, path.read_bytes()).frames) == 1


def test_videos_are_decoded_at_once_and_apart(workers: VideoWorkers, film: bytes) -> None:
    wanted = read(workers, film).frames
    got: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: got.append(read(workers, film).frames)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 6
    assert all((frames == wanted).all() for frames in got)


def test_damaged_files_are_refused_or_read_and_never_more(workers: VideoWorkers, film: bytes) -> None:
    rng = random.Random(0)
    outcomes = []
    for _ in range(MUTANTS):
        mutant = bytearray(film)
        for _ in range(rng.choice((1, 4, 20))):
            mutant[rng.randrange(8, len(mutant))] = rng.randrange(256)
        try:
            outcomes.append(len(read(workers, bytes(mutant), Limits(decode_timeout=5)).frames))
        except RequestError as refusal:
            outcomes.append(refusal.status)
    assert set(outcomes) <= {1, 2, 3, 4, 400}
    assert 0 < outcomes.count(400) < MUTANTS
    assert len(read(workers, film).frames) == 4
