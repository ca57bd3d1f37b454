"""The right answer follows the visuals into their new order."""

import random

import pytest

from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.permutations import OPPOSITE, permuted
from llava_interleave_serve.demo.scenes.questions import Conversation, listing


@pytest.mark.parametrize("seed", range(10))
def test_an_image_is_named_by_its_new_number(seed: int) -> None:
    conversation = FAMILIES["which"](random.Random(seed))
    other = permuted("which", conversation, random.Random(seed))
    assert other is not None

    def named(whole: Conversation) -> object:
        return whole.scenes[int(whole.turns[0].answer.removeprefix("Image ").rstrip(".")) - 1]

    assert named(other) == named(conversation)
    assert sorted(map(hash, other.scenes)) == sorted(map(hash, conversation.scenes))


@pytest.mark.parametrize("seed", range(10))
def test_a_view_keeps_its_cameras_name(seed: int) -> None:
    conversation = FAMILIES["camera"](random.Random(seed))
    other = permuted("camera", conversation, random.Random(seed))
    assert other is not None
    assert other.turns == conversation.turns
    pairs = zip(other.scenes, other.names, strict=True)
    assert set(pairs) == set(zip(conversation.scenes, conversation.names, strict=True))


@pytest.mark.parametrize("family", ["first", "last", "motion"])
def test_a_video_is_played_backwards(family: str) -> None:
    conversation = FAMILIES[family](random.Random(3))
    other = permuted(family, conversation, random.Random(0))
    assert other is not None
    assert other.scenes == conversation.scenes[::-1]
    answer, before = other.turns[0].answer, conversation.turns[0].answer
    if family == "motion":
        (direction,) = (direction for direction in OPPOSITE if f"{direction}." in before)
        assert answer.endswith(f"{OPPOSITE[direction]}.")
    else:
        assert answer == listing(other.scenes[0 if family == "first" else -1].kinds)


@pytest.mark.parametrize("family", ["describe", "count", "change"])
def test_other_families_have_no_permutation(family: str) -> None:
    assert permuted(family, FAMILIES[family](random.Random(1)), random.Random(1)) is None
