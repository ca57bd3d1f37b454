"""Frames that are larger than the file states, or than those before them, are held to the same bounds."""

from pathlib import Path

import numpy as np
import pytest

from llava_interleave_serve.server.errors import LimitExceeded, MediaError, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.decoding.memory_file import MemoryFile
from llava_interleave_serve.server.media.decoding.pool import DecodePool
from llava_interleave_serve.server.media.decoding.worker import Job
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.requester import Requester, RequestMediaTooLarge
from llava_interleave_serve.server.media.video.decode import decode_video, open_video
from llava_interleave_serve.server.media.video.frame_reader import FrameReader
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support.videos import video_files

EVERY_FRAME = Sampling(num_frames=100)


def growing(folder: Path, *sizes: tuple[int, int]) -> Path:
    """An MJPEG AVI whose frames have these widths and heights; its header states 64x48."""

    def mjpeg(name: str, width: int, height: int) -> Path:
        def prepare(stream: object) -> None:
            stream.width, stream.height = width, height  # type: ignore[attr-defined]

        images = [np.full((height, width, 3), 100, np.uint8)]
        return video_files.write(folder / name, "mjpeg", {}, images, pixel_format="yuvj420p", prepare=prepare)

    packets = []
    for index, (width, height) in enumerate(sizes):
        (packet,) = video_files.stored_packets(mjpeg(f"{index}.avi", width, height))
        packets.append(packet._replace(pts=index, dts=index))
    return video_files.remux(mjpeg("stated.avi", 64, 48), folder / "growing.avi", packets)


def approvals(path: Path, limits: Limits, sampling: Sampling = EVERY_FRAME) -> list[tuple[int, int]]:
    """Decodes a video; returns what it asked to be approved, as pixels and number of frames."""
    asked: list[tuple[int, int]] = []
    file = MemoryFile()
    try:
        file.write(path.read_bytes())
        reader = open_video(file.fd, limits)
        decode_video(
            reader, sampling, SquareResize(16), limits, RequestTiming(), lambda *question: asked.append(question)
        )
    finally:
        file.close()
    return asked


@pytest.mark.parametrize("limits", [Limits(max_pixels=10_000), Limits(max_side=100)])
@pytest.mark.parametrize("place", [0, 2])
def test_a_frame_that_is_too_large_is_refused_wherever_it_stands(tmp_path: Path, limits: Limits, place: int) -> None:
    sizes = [(64, 48)] * 4
    sizes[place] = (160, 120)
    with pytest.raises(LimitExceeded, match="160x120") as refusal:
        approvals(growing(tmp_path, *sizes), limits)
    assert refusal.value.param == "url"


def test_frames_that_are_only_decoded_on_the_way_are_checked_too(tmp_path: Path) -> None:
    # One frame in twelve can be decoded by itself, and each of the others by those before it.
    path = video_files.write(tmp_path / "group.mp4", "mpeg4", {"g": "12", "bf": "0"}, video_files.pictures())
    sizes: list[tuple[int, int]] = []
    FrameReader(str(path)).read([5], check=lambda *size: sizes.append(size))
    assert sizes == [video_files.SIZE] * 6


def test_ffmpeg_decodes_no_frame_that_is_clearly_larger_than_allowed(tmp_path: Path) -> None:
    path = growing(tmp_path, (64, 48), (2000, 2000))
    reader = FrameReader(str(path), max_pixels=10_000)
    sizes: list[tuple[int, int]] = []
    reader.read([0], check=lambda *size: sizes.append(size))
    with pytest.raises(Exception, match="Invalid"):
        reader.read([1], check=lambda *size: sizes.append(size))
    assert set(sizes) == {(64, 48)}
    with pytest.raises(MediaError, match="too large"):
        approvals(path, Limits(max_pixels=10_000))


def test_larger_frames_are_approved_anew_with_the_number_of_those_left(tmp_path: Path) -> None:
    path = growing(tmp_path, (64, 48), (160, 120), (64, 48), (160, 120), (320, 240))
    assert approvals(path, Limits()) == [(3072, 5), (19_200, 4), (76_800, 1)]
    assert approvals(growing(tmp_path, (160, 120), (64, 48)), Limits()) == [(19_200, 2)]


def test_a_refused_frame_is_checked_again_when_the_open_video_is_read_again(tmp_path: Path) -> None:
    def refuse(width: int, height: int) -> None:
        if width > 64:
            raise RequestError("no", param="url")

    reader = FrameReader(str(growing(tmp_path, (64, 48), (160, 120))))
    for _ in range(2):
        with pytest.raises(RequestError):
            reader.read([0, 1], check=refuse)
    assert reader.read([0, 1]).shape == (2, 48, 64, 3)


@pytest.mark.anyio
async def test_frames_that_grow_are_counted_for_their_request_and_wait_for_room_of_their_own(tmp_path: Path) -> None:
    small, large, largest = (64, 48), (2000, 1500), (2400, 1500)
    data = growing(tmp_path, small, large, small, largest).read_bytes()
    job = Job("video", data, EVERY_FRAME)
    pool = DecodePool(Limits(decode_workers=2), SquareResize(16))
    taken: list[int] = []
    acquire = pool._pixels.acquire

    async def acquire_and_note(requester: Requester, weight: int = 1) -> None:
        await acquire(requester, weight)
        taken.append(pool._pixels._held_by_key.total())

    pool._pixels.acquire = acquire_and_note  # type: ignore[method-assign]
    try:
        requester = Requester()
        decoded = await pool.decode(job, requester)
        assert decoded.views.shape == (4, 16, 16, 3)
        assert taken == [3_000_000, 3_600_000]
        assert requester.pixels == 3 * 3_000_000 + 600_000
        assert decoded.result.pixels == 3072 + requester.pixels
        assert pool._pixels._held_by_key.total() == 0
    finally:
        pool.close()


@pytest.mark.anyio
async def test_frames_that_grow_beyond_the_pixels_of_a_request_are_refused(tmp_path: Path) -> None:
    data = growing(tmp_path, (64, 48), (2000, 1500), (2400, 1500)).read_bytes()
    pool = DecodePool(Limits(decode_workers=1, max_request_pixels=6_500_000), SquareResize(16))
    try:
        with pytest.raises(RequestMediaTooLarge):
            await pool.decode(Job("video", data, EVERY_FRAME), Requester())
        assert not pool._pixels._held_by_key
        assert len(pool._idle) == 1  # the process goes on
    finally:
        pool.close()
