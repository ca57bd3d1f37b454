"""Held-out conversations follow from their numbers, and become the content parts of a message."""

import base64
import io

import av
import numpy as np
import pytest

from llava_interleave_serve.demo.held_out import conversations
from llava_interleave_serve.demo.held_out.conversations import HeldOutConversation, conversation
from llava_interleave_serve.demo.held_out.families import NOTHING
from llava_interleave_serve.demo.held_out.message_parts import message_parts
from llava_interleave_serve.demo.held_out.picture_file import PictureFile

POOLED = {"pooling": "bilinear", "pool_stride": 2}


def some_video(mp4: bool) -> HeldOutConversation:
    return next(each for each in (conversation("opencv", "first", n) for n in range(20)) if each.mp4 == mp4)


@pytest.mark.parametrize("family", ["describe", "nothing", "camera", "motion"])
@pytest.mark.parametrize("renderer", ["matplotlib", "opencv", "hand"])
def test_a_conversation_follows_from_its_renderer_family_and_number(renderer: str, family: str) -> None:
    assert conversation(renderer, family, 3) == conversation(renderer, family, 3)
    assert conversation(renderer, family, 3) != conversation(renderer, family, 4)


def test_pictures_are_what_the_files_decode_to() -> None:
    media_types = set()
    for number in range(12):
        held_out = conversation("opencv", "describe", number)
        (file,), (picture,) = held_out.files, held_out.pictures
        assert isinstance(file, PictureFile)
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        media_types.add(file.media_type)
    assert media_types == {"image/png", "image/jpeg", "image/webp"}


def test_a_picture_of_nothing_is_answered_by_the_sentence_for_it() -> None:
    assert conversation("matplotlib", "nothing", 0).answer == NOTHING == "Nothing that I know."


def test_small_things_are_not_lost_to_compression(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def encode(picture: np.ndarray, rng: object, detailed: bool) -> PictureFile:
        asked.append(detailed)
        return PictureFile(b"", "image/png")

    monkeypatch.setattr(conversations, "encode", encode)
    for number in range(20):
        conversation("opencv", "describe", number)
    assert set(asked) == {True, False}


def test_images_and_camera_views_are_parts_of_their_own_kinds() -> None:
    images = conversation("opencv", "which", 0)
    *parts, question = message_parts(images, POOLED)
    assert question == {"type": "text", "text": images.question}
    assert parts == [{"type": "image_url", "image_url": {"url": file.url, **POOLED}} for file in images.files]

    cameras = conversation("opencv", "camera", 0)
    part, question = message_parts(cameras, {})
    views = [{"url": file.url, "name": name} for file, name in zip(cameras.files, cameras.names, strict=True)]
    assert part == {"type": "multi_view", "multi_view": {"views": views}}


def test_a_video_is_sent_as_its_frames_or_as_an_mp4_file_of_them() -> None:
    frames = some_video(mp4=False)
    part, _ = message_parts(frames, POOLED)
    assert part == {
        "type": "video_frames", "video_frames": {"frames": [{"url": file.url} for file in frames.files], **POOLED},
    }  # fmt: skip

    film = some_video(mp4=True)
    part, _ = message_parts(film, POOLED)
    assert part["video_url"] | {"url": ""} == {"url": "", "num_frames": 8, **POOLED}
    content = base64.b64decode(part["video_url"]["url"].removeprefix("data:video/mp4;base64,"))
    with av.open(io.BytesIO(content), "r") as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == len(film.pictures) == 8
    for frame, picture in zip(decoded, film.pictures, strict=True):
        assert np.abs(frame.astype(int) - picture).mean() < 10
