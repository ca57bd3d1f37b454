"""With `--video-reader decord` the frames of a video are those that decord gives for the same indices."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from llava_interleave_serve.server.admission import Admission
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.loader import MediaLoader
from llava_interleave_serve.server.media.requester import Requester
from llava_interleave_serve.server.media.video.frame_reader import FrameReader
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.media.video.video import Video
from tests.support.videos import video_files
from tests.support.videos.video_files import FRAMES, pictures

decord: Any = pytest.importorskip("decord", reason="the extra `decord` is not installed")
from llava_interleave_serve.server.media.video.decord_reader import DecordReader  # noqa: E402 - imports decord

CODECS = {
    "H.264, mp4": ("mp4", "libx264", {"g": "12", "bf": "3"}),
    "H.264 with one key frame, mov": ("mov", "libx264", {"g": "1000", "bf": "2"}),
    "H.264 with open groups, mkv": ("mkv", "libx264", {"x264-params": "keyint=12:open-gop=1:bframes=3"}),
    "HEVC, mp4": ("mp4", "libx265", {"x265-params": "keyint=12:log-level=none"}),
    "VP9, webm": ("webm", "libvpx-vp9", {"g": "12"}),
    "MPEG-4, avi": ("avi", "mpeg4", {"g": "12"}),
}


def write_video(folder: Path, kind: str) -> Path:
    container, codec, options = CODECS[kind]
    return video_files.write(folder / f"video.{container}", codec, options, pictures())


@pytest.fixture
def decode() -> Iterator[Callable[..., Video]]:
    """Decodes a file by decord in a process, as the server does."""

    async def start() -> MediaLoader:
        limits = Limits()
        return MediaLoader(limits, SquareResize(48), Access(Path("/")), Admission(limits), video_reader="decord")

    with asyncio.Runner() as runner:
        loader = runner.run(start())

        def decode(path: Path, **sampling: Any) -> Video:
            return runner.run(loader.load_video(path.as_uri(), Sampling(**sampling), Requester(), param="video_url"))

        yield decode
        runner.run(loader.aclose())


@pytest.mark.parametrize("kind", CODECS)
def test_indices_and_pixels_are_those_of_decord(kind: str, decode: Callable[..., Video], tmp_path: Path) -> None:
    path, resize = write_video(tmp_path, kind), SquareResize(48)
    for number in (1, 8, 16, FRAMES):
        video, expected = decode(path, num_frames=number), decord.VideoReader(str(path))
        assert video.indices == np.linspace(0, len(expected) - 1, number, dtype=int).tolist()
        assert video.fps == expected.get_avg_fps()
        assert video.times == pytest.approx([index / 10 for index in video.indices], abs=1e-3)
        for view, frame in zip(video.frames, expected.get_batch(video.indices).asnumpy(), strict=True):
            assert (view == resize(frame)).all()


@pytest.mark.parametrize("kind", CODECS)
def test_both_readers_give_the_same_frames_of_whole_files(kind: str, tmp_path: Path) -> None:
    path = write_video(tmp_path, kind)
    ours, theirs = FrameReader(str(path)), DecordReader(str(path))
    assert ours.times == pytest.approx(theirs.times, abs=1e-3)
    for one, other in zip(ours.read(range(FRAMES)), theirs.read(range(FRAMES)), strict=True):
        assert (one == other).all()


def test_frames_that_an_edit_list_discards_are_counted_as_decord_counts_them(
    decode: Callable[..., Video], tmp_path: Path
) -> None:
    source = write_video(tmp_path, "H.264 with one key frame, mov")
    packets = [
        packet._replace(pts=packet.pts - 15, dts=packet.dts - 15) for packet in video_files.stored_packets(source)
    ]
    path = video_files.remux(source, tmp_path / "cut.mov", packets, options={"avoid_negative_ts": "disabled"})
    video = decode(path, num_frames=6)
    assert video.indices == [0, 9, 19, 29, 39, 49]
    assert video.times[0] == 0


def test_a_span_and_a_rate_go_by_the_times_of_decord(decode: Callable[..., Video], tmp_path: Path) -> None:
    path = write_video(tmp_path, "H.264, mp4")
    assert decode(path, num_frames=4, start=1.0, end=2.0).indices == [10, 13, 16, 19]
    assert decode(path, fps=10).indices == list(range(FRAMES))
    assert decode(path, fps=2.5).indices == list(range(0, FRAMES, 4))


def test_times_that_do_not_rise_are_those_of_an_even_rate(tmp_path: Path) -> None:
    path = video_files.write(tmp_path / "video.avi", "libx264", {"bf": "3"}, pictures())
    reader = DecordReader(str(path))
    assert reader.times == pytest.approx(np.array([(index, index + 1) for index in range(FRAMES)]) / 10)


def test_containers_that_are_not_served_are_not_opened(tmp_path: Path) -> None:
    write_video(tmp_path, "H.264, mp4").rename(tmp_path / "video.mp4")
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nvideo.mp4\n#EXT-X-ENDLIST\n")
    with pytest.raises(av.FFmpegError):
        DecordReader(str(path))
