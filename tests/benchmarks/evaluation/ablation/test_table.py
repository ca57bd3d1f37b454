"""The error beside an ablation's score is the standard error of that score."""

import pytest

from llava_interleave_serve.benchmarks.evaluation.ablation.table import standard_error
from llava_interleave_serve.benchmarks.evaluation.dataset.records import QuestionAnswer, Record
from llava_interleave_serve.benchmarks.evaluation.scoring.aggregate import DatasetResult, ScoredAnswer

RECORD = Record("b.json", 3, "id", "NextQA", "multi-choice", (QuestionAnswer("Q", "A"),), ())


def result(*values: float | None) -> DatasetResult:
    return DatasetResult("d", "choice", answers=[ScoredAnswer(RECORD, 0, "", None, value) for value in values])


def test_the_standard_error_of_one_dataset_is_that_of_its_mean() -> None:
    assert standard_error([result(0.0, 1.0, 1.0, 0.0)]) == pytest.approx((1 / 3 / 4) ** 0.5)


def test_datasets_that_differ_from_each_other_alone_have_no_standard_error() -> None:
    assert standard_error([result(1.0, 1.0, 1.0), result(0.0, 0.0)]) == 0.0


def test_each_dataset_has_its_own_share_of_the_standard_error() -> None:
    small, large = result(0.0, 1.0), result(*[0.0, 1.0] * 50)
    expected = (0.5 / 2 + 25 / 99 / 100) ** 0.5 / 2  # the variances 1/2 and 25/99, each by its number of answers
    assert standard_error([small, large]) == pytest.approx(expected)
    assert standard_error([small, large, result(None)]) == pytest.approx(expected)


@pytest.mark.parametrize("results", [[], [result(None)], [result(1.0)], [result(0.0, 1.0), result(1.0)]])
def test_the_standard_error_is_not_known_of_no_answers_or_of_a_dataset_with_a_single_one(
    results: list[DatasetResult],
) -> None:
    assert standard_error(results) is None
