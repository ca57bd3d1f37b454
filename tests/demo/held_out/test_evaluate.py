"""The evaluation on held-out drawings counts whole answers, and keeps the pictures and what was said about them."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from llava_interleave_serve.demo.evaluate import Asked, Outcome
from llava_interleave_serve.demo.held_out import evaluate, families
from llava_interleave_serve.demo.held_out.conversations import HeldOutConversation, conversation


class EverySecond:
    """Answers every second question rightly, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[Asked]] = []

    def __call__(self, messages: Sequence[Asked]) -> list[Outcome]:
        self.asked.append(list(messages))
        answers = [each.right_answer if index % 2 == 0 else "A star." for index, each in enumerate(messages)]
        return [
            Outcome(each.question, each.right_answer, answer) for each, answer in zip(messages, answers, strict=True)
        ]


def test_a_line_has_the_share_of_right_answers_to_the_questions_of_the_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ask = EverySecond()
    line = evaluate.accuracy(ask, "opencv", "describe", range(5, 8), shown_errors=1, folder=None)
    del line["by_extent"]
    assert line == {"renderer": "opencv", "family": "describe", "n": 3, "right": 0.6667}
    assert [each.right_answer for each in ask.asked[0]] == [
        conversation("opencv", "describe", number).answer for number in (5, 6, 7)
    ]
    assert capsys.readouterr().out.startswith("  opencv describe right: ")


def test_videos_are_asked_about_pooled_too() -> None:
    ask = EverySecond()
    line = evaluate.accuracy(ask, "opencv", "motion", range(2), shown_errors=0, folder=None)
    del line["by_extent"]
    assert line == {"renderer": "opencv", "family": "motion", "n": 2, "right": 0.5, "pooled": 0.5}
    unpooled, pooled = (json.dumps([each.parts for each in asked]) for asked in ask.asked)
    assert '"pool_stride"' not in unpooled
    assert pooled.count('"pool_stride": 2') == 2


def test_right_answers_are_counted_by_the_extent_of_the_smallest_thing() -> None:
    extents = (0.2, 0.04, 0.049, 0.05, 1.0)
    conversations = [HeldOutConversation((), "q", "a", least_extent=extent) for extent in extents]
    results = [Outcome("q", "a", answer) for answer in "abaab"]
    assert evaluate.by_extent(conversations, results) == {
        "below 0.07": "1 of 1", "below 0.05": "1 of 2", "above": "1 of 2",
    }  # fmt: skip


def test_the_extent_of_a_thing_is_its_share_of_the_squeezed_pictures_side() -> None:
    drawing = families.describe(random.Random(1)).drawings[0]
    smallest = min(thing.radius for thing in drawing.things)
    extents = (2 * smallest / drawing.width, 2 * smallest / drawing.height)
    assert drawing.least_extent == pytest.approx(min(extents))
    assert conversation("opencv", "nothing", 0).least_extent == 1


def test_pictures_are_written_with_the_right_and_the_given_answers(tmp_path: Path) -> None:
    evaluate.accuracy(EverySecond(), "opencv", "change", range(2), shown_errors=0, folder=tmp_path)
    folder = tmp_path / "right" / "opencv" / "change"
    right, wrong = (json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines())
    first, second = conversation("opencv", "change", 0), conversation("opencv", "change", 1)
    assert right["is_right"]
    assert right["answer"] == right["right_answer"] == first.answer
    assert (wrong["is_right"], wrong["answer"], wrong["right_answer"]) == (False, "A star.", second.answer)
    assert [(folder / name).read_bytes() for name in wrong["files"]] == [file.content for file in second.files]
    assert all(name.startswith("wrong-1-") for name in wrong["files"])
