"""Media come from folders or are generated."""

from pathlib import Path

import pytest
from PIL import Image

from llava_interleave_serve.benchmarks.load.requests.messages import Video
from llava_interleave_serve.benchmarks.load.workload.media import Media
from llava_interleave_serve.benchmarks.load.workload.schema import WorkloadError
from tests.support.load.conversations import first_parts, generator, pictures


def test_media_files_of_a_folder_are_sent_unchanged(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (20, 20), (number * 80, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    media = Media(source="folder", folder=str(tmp_path))
    sent = set(pictures(generator("images", visuals=(20,), media=media).generate()))
    assert sent == {(tmp_path / f"{number}.png").read_bytes() for number in range(3)}
    window = pictures(generator("frames", visuals=(3,), media=media).generate())
    assert sorted(window) == sorted(sent)


def test_a_media_folder_without_files_of_the_kind_is_an_error(tmp_path: Path) -> None:
    media = Media(source="folder", folder=str(tmp_path))
    with pytest.raises(WorkloadError, match="no picture"):
        generator("images", media=media).generate()
    with pytest.raises(WorkloadError, match="no video"):
        generator("video", media=media).generate()


def test_a_video_is_a_file_with_its_frames() -> None:
    (video, _) = first_parts(generator("video", visuals=(4,)).generate())
    assert isinstance(video, Video)
    kind, content = video.clip.file()
    assert (kind, content[4:8]) == ("mp4", b"ftyp")
    assert len(video.clip.sample(4)) == 4
    assert len(video.clip.sample(100)) == 8
