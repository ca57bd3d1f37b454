"""MP4 files hold the frames that were written."""

import io
import random

import av
import numpy as np
import pytest

from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.mp4 import write_mp4
from llava_interleave_serve.demo.scenes.video_file import FPS, SIZE, video_bytes


def decode(content: bytes) -> tuple[list[np.ndarray], float]:
    """The frames, uint8 [H, W, 3] RGB, and the frames per second."""
    with av.open(io.BytesIO(content), mode="r") as container:
        rate = container.streams.video[0].average_rate
        assert rate is not None
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], float(rate)


def gradients(number: int, height: int, width: int) -> list[np.ndarray]:
    """Smooth frames, each of another colour."""
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None]
    return [
        (ramp * (1, 2, 1) + (40 * index, 10, 200 - 30 * index)).clip(0, 255).astype(np.uint8) for index in range(number)
    ]


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63), (16, 17)])
@pytest.mark.parametrize("fps", [8, 29.97, 30000 / 1001, 240.5, 0.5])
def test_every_frame_of_a_written_mp4_is_read_back(height: int, width: int, fps: float) -> None:
    frames = gradients(5, height, width)
    decoded, rate = decode(write_mp4(iter(frames), fps))
    assert rate == pytest.approx(fps, rel=1e-3)
    assert len(decoded) == len(frames)
    for frame, expected in zip(decoded, frames, strict=True):
        assert frame.shape == expected.shape
        assert np.abs(frame.astype(int) - expected).mean() < 6


def test_equal_frames_give_equal_mp4_files() -> None:
    frames = gradients(4, 48, 64)
    assert write_mp4(frames, 8) == write_mp4([np.asfortranarray(frame) for frame in frames], 8)


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_mp4([], 8)


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="have one size"):
        write_mp4([np.zeros((16, 16, 3), np.uint8), np.zeros((16, 32, 3), np.uint8)], 8)


def test_scenes_become_frames_in_their_order() -> None:
    scenes = FAMILIES["motion"](random.Random("video file")).scenes
    frames, rate = decode(video_bytes(scenes))
    assert (len(frames), rate) == (len(scenes), FPS)
    for index in (0, len(scenes) // 2, len(scenes) - 1):
        assert np.abs(frames[index].astype(int) - scenes[index].draw(SIZE)).mean() < 6
