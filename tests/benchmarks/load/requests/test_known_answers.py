"""Questions about the demo's scenes have known answers, by which answers are checked."""

import random

import pytest

from llava_interleave_serve.benchmarks.load.requests.known_answers import draw_question, is_right, reorder_question
from llava_interleave_serve.benchmarks.load.workload.media import Media
from llava_interleave_serve.benchmarks.load.workload.schema import Kind, Repeat
from tests.support.load.conversations import generator, pictures


@pytest.mark.parametrize(
    ("answer", "right", "part", "whole"),
    [
        ("Image 3.", "Image 3.", True, True),
        ("It is image 3", "Image 3.", True, False),
        ("Image 13.", "Image 3.", False, False),
        ("CAM_FRONT_LEFT.", "CAM_FRONT.", False, False),
        ("Image 2, not image 3.", "Image 4.", False, False),
        ("", "Image 4.", False, False),
    ],
)
def test_an_answer_is_judged_word_for_word(answer: str, right: str, part: bool, whole: bool) -> None:
    assert is_right(answer, right, whole=False) is part
    assert is_right(answer, right, whole=True) is whole


@pytest.mark.parametrize("family", ["which", "camera"])
def test_the_right_answer_changes_with_the_order_of_the_visuals(family: str) -> None:
    kind: Kind = "views" if family == "camera" else "images"
    media = Media(source="scenes", sizes=((32, 32),))
    conversations = generator(kind, visuals=(4,), ask=family, repeat=Repeat(order=1.0), media=media)
    new = conversations.generate()
    repeated = [conversations.generate() for _ in range(8)]
    assert all(sorted(pictures(conversation)) == sorted(pictures(new)) for conversation in repeated)
    assert pictures(repeated[0]) != pictures(new)
    answers = {conversation.turns[0].known_answer for conversation in (new, *repeated)}
    # An image's number changes with its position; a camera keeps its name wherever its view is.
    assert (len(answers) > 1) == (family == "which")


@pytest.mark.parametrize(
    ("family", "kind"), [("first", "video"), ("last", "frames"), ("motion", "frames"), ("count", "images")]
)
def test_every_family_of_questions_has_a_right_answer(family: str, kind: Kind) -> None:
    media = Media(source="scenes", sizes=((32, 32),), clip_frames=(6,))
    turn = generator(kind, visuals=(4,), ask=family, media=media).generate().turns[0]
    assert turn.known_answer


def test_a_question_whose_answer_has_no_order_cannot_be_reordered() -> None:
    question = draw_question("count", random.Random(0), 3)
    with pytest.raises(ValueError, match="do not follow the order"):
        reorder_question("count", question, random.Random(0))
