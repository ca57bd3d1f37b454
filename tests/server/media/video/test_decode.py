"""Video files are decoded to the sampled frames, or refused by the option at fault."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from llava_interleave_serve.server.errors import LimitExceeded, MediaError, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.decoding.memory_file import MemoryFile
from llava_interleave_serve.server.media.image.decode import approve_all
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.video.decode import decode_video, open_video
from llava_interleave_serve.server.media.video.frame_reader import FrameCheck, FrameReader
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.media.video.video import Video
from llava_interleave_serve.server.observability.timing import RequestTiming

FRAMES, FPS, STEP = 40, 10, 6  # the frame with index i is grey of level STEP * i


def write_video(folder: Path, container: str) -> bytes:
    path = folder / f"video.{container}"
    codec = {"mp4": "mp4v", "avi": "MJPG"}[container]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), FPS, (64, 48))
    for index in range(FRAMES):
        writer.write(np.full((48, 64, 3), STEP * index, np.uint8))
    writer.release()
    return path.read_bytes()


@pytest.fixture(scope="module", params=["mp4", "avi"])
def video_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_video(tmp_path_factory.mktemp("video"), request.param)


def decode(
    data: bytes, limits: Limits | None = None, stated_size: tuple[int, int] | None = None, **sampling: Any
) -> Video:
    file, limits = MemoryFile(), limits or Limits()
    try:
        file.write(data)
        reader = open_video(file.fd, limits)
        if stated_size is not None:
            reader.stated_size = stated_size
        return decode_video(reader, Sampling(**sampling), SquareResize(16), limits, RequestTiming(), approve_all)
    finally:
        file.close()


@pytest.mark.parametrize(
    ("sampling", "indices"),
    [
        ({}, [0, 2, 5, 7, 10, 13, 15, 18, 20, 23, 26, 28, 31, 33, 36, 39]),
        ({"num_frames": 1}, [0]),
        ({"num_frames": 2}, [0, 39]),
        ({"num_frames": 4}, [0, 13, 26, 39]),
        ({"num_frames": 100}, list(range(40))),
        ({"num_frames": 3, "start": 1.0, "end": 2.0}, [10, 14, 19]),
        ({"num_frames": 4, "start": 0.5, "end": 1.3}, [5, 7, 9, 12]),
        ({"num_frames": 50, "start": 3.5}, [35, 36, 37, 38, 39]),
        ({"fps": 1}, [0, 10, 20, 30]),
        ({"fps": 2, "start": 1.0, "end": 3.0}, [10, 15, 20, 25]),
        ({"fps": 1000, "start": 3.8}, [38, 39]),
        ({"num_frames": 2, "end": 100.0}, [0, 39]),
    ],
)
def test_a_video_is_decoded_at_the_frame_indices_counted_by_hand(
    video_file: bytes, sampling: dict[str, Any], indices: list[int]
) -> None:
    video = decode(video_file, **sampling)
    assert video.indices == indices
    assert video.times == pytest.approx([index / FPS for index in indices], abs=1e-3)
    assert video.frames.shape == (len(indices), 16, 16, 3)
    levels = video.frames.mean((1, 2, 3))
    assert levels == pytest.approx([STEP * index for index in indices], abs=4)


def test_a_sampled_video_has_the_duration_and_frame_rate_of_the_whole_file(video_file: bytes) -> None:
    video = decode(video_file)
    assert video.duration == pytest.approx(FRAMES / FPS)
    assert video.fps == pytest.approx(FPS)


@pytest.mark.parametrize(
    ("sampling", "limits", "error", "param"),
    [
        ({"start": 4.0}, Limits(), RequestError, "start"),
        ({"start": 2.0, "end": 1.0}, Limits(), RequestError, "end"),
        ({"num_frames": 30}, Limits(max_frames=20), LimitExceeded, "num_frames"),
        ({"fps": 10}, Limits(max_frames=20), LimitExceeded, "fps"),
        ({}, Limits(max_video_seconds=2), LimitExceeded, "url"),
        ({}, Limits(max_pixels=1000), LimitExceeded, "url"),
    ],
)
def test_a_refused_video_names_the_option_at_fault(
    video_file: bytes, sampling: dict[str, Any], limits: Limits, error: type[RequestError], param: str
) -> None:
    with pytest.raises(error) as refusal:
        decode(video_file, limits, **sampling)
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
def test_a_file_that_is_not_a_video_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MediaError, match=message) as refusal:
        decode(data)
    assert refusal.value.param == "url"


@pytest.mark.parametrize(("stated_size", "expected"), [(None, []), ((0, 0), [[0]]), ((8, 8), [[0]])])
def test_a_video_with_too_large_frames_is_refused_by_what_it_states_or_after_its_first_frame(
    video_file: bytes, monkeypatch: pytest.MonkeyPatch, stated_size: tuple[int, int] | None, expected: list[list[int]]
) -> None:
    requests, read = [], FrameReader.read

    def recording_read(
        reader: FrameReader, indices: list[int], next_indices: list[int], check: FrameCheck
    ) -> np.ndarray:
        requests.append(indices)
        return read(reader, indices, next_indices, check)

    monkeypatch.setattr(FrameReader, "read", recording_read)
    with pytest.raises(LimitExceeded):
        decode(video_file, Limits(max_pixels=1000), stated_size)
    assert requests == expected


def test_a_truncated_video_is_refused(tmp_path: Path) -> None:
    data = write_video(tmp_path, "mp4")
    with pytest.raises(MediaError, match="damaged"):
        decode(data[: len(data) // 2])


def test_a_video_is_decoded_whatever_the_name_of_its_file(video_file: bytes, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(video_file)
    assert len(decode((tmp_path / "picture.png").read_bytes(), num_frames=3).frames) == 3
