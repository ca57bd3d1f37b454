"""The chance level is the score of the best answer that is always the same."""

import random
from statistics import fmean

import pytest

from llava_interleave_serve.benchmarks.evaluation import demo_dataset
from llava_interleave_serve.benchmarks.evaluation.scoring.chance import chance_level
from llava_interleave_serve.benchmarks.evaluation.scoring.metrics import MULTI_CHOICE, OPEN_ENDED, score


def test_the_chance_level_of_choices_is_the_share_of_the_commonest_answer() -> None:
    assert chance_level(MULTI_CHOICE, ["A", "B", "B", "C"]) == 0.5
    assert chance_level(MULTI_CHOICE, ["Yes.", "No.", "Yes."]) == pytest.approx(2 / 3)


def test_the_chance_level_of_open_answers_counts_shared_words() -> None:
    # "image 1" against "image 2": one of two words in common, F 1/2; so (1 + 1/2) / 2.
    assert chance_level(OPEN_ENDED, ["Image 1.", "Image 2."]) == pytest.approx(0.75, abs=1e-6)
    # "a red star" has two of three words in common with each of the others, which have one with each other.
    assert chance_level(OPEN_ENDED, ["A red circle.", "A red star.", "A blue star."]) == pytest.approx(7 / 9, abs=1e-6)


@pytest.mark.parametrize("dataset", demo_dataset.DATASETS, ids=lambda dataset: dataset.name)
def test_no_constant_or_random_guess_scores_above_the_chance_level(dataset: demo_dataset.DemoDataset) -> None:
    answers = [dataset.conversation(number).turns[0].answer for number in range(12)]
    level = chance_level(dataset.question_type, answers)
    constant_guesses = [
        fmean(score(dataset.question_type, guess, right, "reference") or 0.0 for right in answers) for guess in answers
    ]
    assert level == max(constant_guesses)
    rng = random.Random(dataset.name)
    random_guesses = [
        score(dataset.question_type, rng.choice(answers), right, "reference") or 0.0
        for right in answers
        for _ in range(50)
    ]
    assert fmean(random_guesses) < level + 0.05
    assert level < 0.8  # there is something to show above it
