"""From video files to sampled frames."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llava_interleave_serve.server.errors import LimitExceeded, MediaError, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.squash import Squash
from llava_interleave_serve.server.media.video.decode import Sampling, Video, decode_video, sample
from llava_interleave_serve.server.media.video.worker_pool import Leash, VideoWorker, VideoWorkers
from llava_interleave_serve.server.observability.timing import Phases

FRAMES, FPS, STEP = 40, 10, 6  # frame number n is grey of level STEP * n


def write(folder: Path, kind: str) -> bytes:
    path = folder / f"film.{kind}"
    code = {"mp4": "mp4v", "avi": "MJPG"}[kind]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), FPS, (64, 48))
    for number in range(FRAMES):
        writer.write(np.full((48, 64, 3), STEP * number, np.uint8))
    writer.release()
    return path.read_bytes()


@pytest.fixture(scope="module", params=["mp4", "avi"])
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("film"), request.param)


WORKERS = VideoWorkers(Limits().video_memory_bytes)


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    WORKERS.close()


def read(data: bytes, limits: Limits | None = None, **sampling: Any) -> Video:
    return decode_video(data, Sampling(**sampling), Squash(16), limits or Limits(), WORKERS, Phases(), Leash())


@pytest.mark.parametrize(
    ("sampling", "indices"),
    [
        ({}, [0, 3, 5, 8, 10, 13, 16, 18, 21, 23, 26, 29, 31, 34, 36, 39]),
        ({"num_frames": 1}, [0]),
        ({"num_frames": 2}, [0, 39]),
        ({"num_frames": 4}, [0, 13, 26, 39]),
        ({"num_frames": 100}, list(range(40))),
        ({"num_frames": 3, "start": 1.0, "end": 2.0}, [10, 14, 19]),
        ({"num_frames": 50, "start": 3.5}, [35, 36, 37, 38, 39]),
        ({"fps": 1}, [0, 10, 20, 30]),
        ({"fps": 2, "start": 1.0, "end": 3.0}, [10, 15, 20, 25]),
        ({"fps": 1000, "start": 3.8}, [38, 39]),
        ({"num_frames": 2, "end": 100.0}, [0, 39]),
    ],
)
def test_the_sampled_frames_are_those_counted_by_hand(
    film: bytes, sampling: dict[str, Any], indices: list[int]
) -> None:
    video = read(film, **sampling)
    assert video.indices == indices
    assert video.times == pytest.approx([at / FPS for at in indices], abs=1e-3)
    assert video.frames.shape == (len(indices), 16, 16, 3)
    levels = video.frames.mean((1, 2, 3))
    assert levels == pytest.approx([STEP * at for at in indices], abs=4)


def test_the_videos_length_and_rate_are_told(film: bytes) -> None:
    video = read(film)
    assert video.duration == pytest.approx(FRAMES / FPS)
    assert video.fps == pytest.approx(FPS)


@pytest.mark.parametrize(
    ("sampling", "limits", "kind", "param"),
    [
        ({"start": 4.0}, Limits(), RequestError, "start"),
        ({"start": 2.0, "end": 1.0}, Limits(), RequestError, "end"),
        ({"num_frames": 30}, Limits(max_frames=20), LimitExceeded, "num_frames"),
        ({"fps": 10}, Limits(max_frames=20), LimitExceeded, "fps"),
        ({}, Limits(max_video_seconds=2), LimitExceeded, "url"),
        ({}, Limits(max_pixels=1000), LimitExceeded, "url"),
    ],
)
def test_what_the_video_cannot_give_names_the_option(
    film: bytes, sampling: dict[str, Any], limits: Limits, kind: type[RequestError], param: str
) -> None:
    with pytest.raises(kind) as refusal:
        read(film, limits, **sampling)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes"),
        (b"hello, I am a video.mp4", "not an MP4"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 500, "damaged"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 500, "damaged"),
        (b"RIFF\0\0\0\0AVI " + b"\0" * 500, "damaged"),
    ],
)
def test_what_is_no_video_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MediaError, match=message) as refusal:
        read(data)
    assert refusal.value.param == "url"


def test_pictures_too_large_are_decoded_once(film: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ask = [], VideoWorker.ask

    def asking(worker: VideoWorker, numbers: list[int], later: list[int]) -> None:
        asked.append(numbers)
        ask(worker, numbers, later)

    monkeypatch.setattr(VideoWorker, "ask", asking)
    with pytest.raises(LimitExceeded):
        read(film, Limits(max_pixels=1000))
    assert asked == [[0]]


def test_a_video_cut_short_is_refused(tmp_path: Path) -> None:
    film = write(tmp_path, "mp4")
    with pytest.raises(MediaError, match="damaged"):
        read(film[: len(film) // 2])


class TestSample:
    """`sample` on times of its own making."""

    def test_a_variable_rate_is_sampled_by_what_is_shown(self) -> None:
        times = np.array([0.0, 0.1, 0.2, 5.0, 9.9])
        assert sample(times, 10.0, Sampling(fps=0.5), 100) == [0, 2, 3]

    @given(
        st.lists(st.floats(0, 2, allow_subnormal=False), min_size=1, max_size=30),
        st.floats(0.01, 300),
        st.floats(0, 20),
        st.floats(0.1, 40) | st.none(),
    )
    def test_a_rate_takes_the_frames_that_are_shown_at_its_moments(
        self, gaps: list[float], fps: float, start: float, end: float | None
    ) -> None:
        times = np.cumsum([0.0, *gaps])
        duration = float(times[-1]) + 0.1
        assume(start < duration and (end is None or end > start))
        moments = start + np.arange(math.ceil((min(duration, end or duration) - start) * fps)) / fps
        first, last = np.searchsorted(times, [start, end or duration], side="right") - 1
        shown = np.clip(np.searchsorted(times, moments, side="right") - 1, first, max(first, last))
        got = sample(times, duration, Sampling(fps=fps, start=start, end=end), 100)
        assert set(got) ^ set(shown.tolist()) <= {first, last}  # where a frame begins at a moment, to the last bit
        assert got == sorted(set(got))

    @pytest.mark.parametrize("fps", [1e6, 1e9, 1e300, 1.7e308])
    def test_no_rate_is_too_high_to_count(self, fps: float) -> None:
        assert sample(np.array([0.0, 0.5, 1.0, 1.5]), 2.0, Sampling(fps=fps), 100) == [0, 1, 2, 3]

    def test_one_frame_is_enough(self) -> None:
        assert sample(np.array([0.0]), 0.04, Sampling(), 100) == [0]

    def test_no_frame_comes_twice_and_they_rise(self) -> None:
        times = np.arange(7) / 3
        for wanted in range(1, 20):
            got = sample(times, 7 / 3, Sampling(num_frames=wanted), 100)
            assert got == sorted(set(got))
            assert len(got) == min(wanted, 7)


def test_a_files_name_does_not_matter(film: bytes, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(film)
    assert len(read((tmp_path / "picture.png").read_bytes(), num_frames=3).frames) == 3
