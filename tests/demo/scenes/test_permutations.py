"""Permutations of visuals change the right answer with their order."""

import random

import pytest

from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.permutations import OPPOSITE, other_order, permuted
from llava_interleave_serve.demo.scenes.questions import Conversation, listing


@pytest.mark.parametrize("seed", range(10))
def test_the_answer_after_a_permutation_names_the_new_number_of_an_image(seed: int) -> None:
    conversation = FAMILIES["which"](random.Random(seed))
    other = permuted("which", conversation, random.Random(seed))
    assert other is not None

    def named(whole: Conversation) -> object:
        return whole.scenes[int(whole.turns[0].answer.removeprefix("Image ").rstrip(".")) - 1]

    assert named(other) == named(conversation)
    assert sorted(map(hash, other.scenes)) == sorted(map(hash, conversation.scenes))


@pytest.mark.parametrize("seed", range(10))
def test_a_permuted_view_keeps_the_name_of_its_camera(seed: int) -> None:
    conversation = FAMILIES["camera"](random.Random(seed))
    other = permuted("camera", conversation, random.Random(seed))
    assert other is not None
    assert other.turns == conversation.turns
    pairs = zip(other.scenes, other.names, strict=True)
    assert set(pairs) == set(zip(conversation.scenes, conversation.names, strict=True))


@pytest.mark.parametrize("family", ["which", "camera"])
def test_a_permutation_is_never_the_order_before(family: str) -> None:
    for seed in range(40):
        conversation = FAMILIES[family](random.Random(seed))
        other = permuted(family, conversation, random.Random(f"order {seed}"))
        assert other is not None
        assert other.scenes != conversation.scenes


def test_two_visuals_are_always_exchanged_and_one_has_no_other_order() -> None:
    assert [other_order(2, random.Random(seed)) for seed in range(20)] == [[1, 0]] * 20
    with pytest.raises(ValueError, match="1 visuals have no other order"):
        other_order(1, random.Random(0))


@pytest.mark.parametrize("family", ["first", "last", "motion"])
def test_the_permutation_of_a_video_plays_it_backwards(family: str) -> None:
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
def test_families_without_an_order_have_no_permutation(family: str) -> None:
    assert permuted(family, FAMILIES[family](random.Random(1)), random.Random(1)) is None
