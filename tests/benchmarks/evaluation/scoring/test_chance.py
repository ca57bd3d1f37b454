"""The chance level is what the best answer that never looks gets."""

import random
from statistics import fmean

import pytest

from llava_interleave_serve.benchmarks.evaluation import demo_dataset
from llava_interleave_serve.benchmarks.evaluation.scoring import chance
from llava_interleave_serve.benchmarks.evaluation.scoring.metrics import MULTI_CHOICE, OPEN_ENDED, score


def test_of_choices_it_is_the_commonest() -> None:
    assert chance.level(MULTI_CHOICE, ["A", "B", "B", "C"]) == 0.5
    assert chance.level(MULTI_CHOICE, ["Yes.", "No.", "Yes."]) == pytest.approx(2 / 3)


def test_open_answers_share_words() -> None:
    # "image 1" against "image 2": one of two words in common, F 1/2; so (1 + 1/2) / 2.
    assert chance.level(OPEN_ENDED, ["Image 1.", "Image 2."]) == pytest.approx(0.75, abs=1e-6)
    # "a red star" has two of three words in common with each of the others, which have one with each other.
    assert chance.level(OPEN_ENDED, ["A red circle.", "A red star.", "A blue star."]) == pytest.approx(7 / 9, abs=1e-6)


@pytest.mark.parametrize("data_set", demo_dataset.DATA_SETS, ids=lambda one: one.name)
def test_no_constant_or_random_guess_does_better(data_set: demo_dataset.DataSet) -> None:
    answers = [data_set.conversation(number).turns[0].answer for number in range(12)]
    level = chance.level(data_set.question_type, answers)
    of_constants = [
        fmean(score(data_set.question_type, said, right, "reference") or 0.0 for right in answers) for said in answers
    ]
    assert level == max(of_constants)
    rng = random.Random(data_set.name)
    guesses = [
        score(data_set.question_type, rng.choice(answers), right, "reference") or 0.0
        for right in answers
        for _ in range(50)
    ]
    assert fmean(guesses) < level + 0.05
    assert level < 0.8  # there is something to show above it
