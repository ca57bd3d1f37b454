"""Videos are written to files, and frames are sampled from them."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_interleave_serve.benchmarks.load.requests import videos
from llava_interleave_serve.benchmarks.load.requests.images import Noise
from llava_interleave_serve.benchmarks.load.requests.videos import ClipFile, GeneratedClip


def clip(frames: int = 8) -> GeneratedClip:
    return GeneratedClip(tuple(Noise(5, 64, 48, index) for index in range(frames)), 8.0)


def test_clip_frames_are_sampled_from_the_first_to_the_last() -> None:
    assert videos.sampled_indices(24, 8) == [0, 3, 6, 9, 13, 16, 19, 23]
    assert videos.sampled_indices(3, 8) == [0, 1, 2]


def test_a_clip_file_is_decoded_to_the_frames_that_were_written(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip().file().content)
    (file,) = videos.files_in(str(tmp_path))
    assert file == ClipFile(path)
    frames = file.sample(3)
    assert len(frames) == 3
    for frame, index in zip(frames, (0, 3, 7), strict=True):
        assert frame.file().subtype == "jpeg"
        picture = np.asarray(Image.open(io.BytesIO(frame.file().content)), np.float32)
        assert np.abs(picture - clip().frames[index].draw()).mean() < 20  # two lossy codecs away
        assert np.abs(picture - clip().frames[(index + 4) % 8].draw()).mean() > 20


def test_equal_clips_are_equal_files() -> None:
    assert clip().file() == clip().file() != clip(7).file()


def test_a_frame_that_is_damaged_or_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip().file().content)
    frames = ClipFile(path).sample(3)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start : start + 20_000] = bytes(min(20_000, len(content) - start))
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"clip\.mp4: frame 0 cannot be read"):
        frames[0].file()
    path.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"clip\.mp4: not a video"):
        ClipFile(path).sample(3)


def test_videos_are_written_and_read_without_opencv(tmp_path: Path) -> None:
    code = f"""
import sys
from llava_interleave_serve.benchmarks.load.requests.images import Noise
from llava_interleave_serve.benchmarks.load.requests.videos import ClipFile, GeneratedClip
from pathlib import Path
path = Path({str(tmp_path / "clip.mp4")!r})
path.write_bytes(GeneratedClip((Noise(1, 32, 32), Noise(2, 32, 32)), 8.0).file().content)
ClipFile(path).sample(2)[1].file()
print([name for name in ("cv2", "torch") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
