"""Averages the scores of answers: by dataset, category and split, as the reference or lmms-eval averages them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from llava_interleave_serve.benchmarks.evaluation.answer_store import AnswerStore
from llava_interleave_serve.benchmarks.evaluation.dataset.records import Record
from llava_interleave_serve.benchmarks.evaluation.scoring import paper_results
from llava_interleave_serve.benchmarks.evaluation.scoring.metrics import (
    Style,
    UnsupportedQuestionType,
    metric_for,
    score,
)

OTHER = "Other datasets"


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """The model's answer to one turn.

    Attributes:
        record: The record that was asked.
        turn: The turn's index in the record.
        prediction: The model's answer.
        refused: Why the server refused the question, None if it did not.
        value: The score, 0 to 1; None if the answer does not count.

    """

    record: Record
    turn: int
    prediction: str
    refused: str | None
    value: float | None


@dataclass
class DatasetResult:
    """The answers to one dataset.

    Attributes:
        name: The dataset's name.
        metric: The metric that scores it, None if its question_type has none.
        unsupported: Why it has no metric.
        answers: Every answered turn, in the dataset's order.
        unanswered: How many turns have no answer yet.

    """

    name: str
    metric: str | None
    unsupported: str | None = None
    answers: list[ScoredAnswer] = field(default_factory=list)
    unanswered: int = 0

    @property
    def values(self) -> list[float]:
        """The scores of the answers that count."""
        return [answer.value for answer in self.answers if answer.value is not None]

    @property
    def score(self) -> float | None:
        """The mean over the answers that count, 0 to 1."""
        return fmean(self.values) if self.values else None

    @property
    def refused(self) -> int:
        """The number of questions that the server refused."""
        return sum(answer.refused is not None for answer in self.answers)

    @property
    def chances(self) -> list[float]:
        """The chance levels of the answered records that have one."""
        return [answer.record.chance for answer in self.answers if answer.record.chance is not None]


@dataclass(frozen=True, slots=True)
class CategoryResult:
    """A row of the score table.

    Attributes:
        row: Its title, and the paper's numbers for it.
        datasets: The datasets that belong to it and were asked.
        style: How its score is averaged.

    """

    row: paper_results.PaperRow
    datasets: tuple[DatasetResult, ...]
    style: Style

    @property
    def score(self) -> float | None:
        """The mean over datasets; with lmms-eval's style, over answers."""
        if self.style == "lmms-eval":
            values = [value for dataset in self.datasets for value in dataset.values]
        else:
            values = [dataset.score for dataset in self.datasets if dataset.score is not None]
        return fmean(values) if values else None

    @property
    def chance(self) -> float | None:
        """The mean over datasets of the score that guessing gets, where the records say it."""
        chances = [fmean(dataset.chances) for dataset in self.datasets if dataset.chances]
        return fmean(chances) if chances else None


@dataclass(frozen=True, slots=True)
class SplitResult:
    """A section of the score table.

    Attributes:
        title: Its heading.
        categories: Its rows: all of the paper's, or those of datasets that the paper does not have.
        average: The paper's averages.

    """

    title: str
    categories: tuple[CategoryResult, ...]
    average: paper_results.Numbers = paper_results.NO_NUMBERS


def score_datasets(records: Iterable[Record], answers: AnswerStore, style: Style) -> list[DatasetResult]:
    """Returns a result for each dataset, in the order of their first records.

    The reference takes the question_type of a dataset's first record for all of its records; lmms-eval takes each
    record's own.
    """
    results: dict[str, DatasetResult] = {}
    for record in records:
        result = results.setdefault(record.dataset, _empty_result(record))
        metric = _empty_result(record).metric if style == "lmms-eval" else result.metric
        for turn, question in enumerate(record.turns):
            answer = answers.get(record, turn)
            if answer is None:
                result.unanswered += 1
                continue
            prediction = answer["pred_response"]
            value = None if metric is None else score(metric, prediction, question.answer, style)
            result.answers.append(ScoredAnswer(record, turn, prediction, answer.get("refused"), value))
    return list(results.values())


def _empty_result(record: Record) -> DatasetResult:
    try:
        return DatasetResult(record.dataset, metric_for(record.dataset, record.question_type))
    except UnsupportedQuestionType as unsupported:
        return DatasetResult(record.dataset, None, str(unsupported))


def group_into_splits(results: Sequence[DatasetResult], records: Iterable[Record], style: Style) -> list[SplitResult]:
    """Groups datasets into the paper's splits, and the other datasets as their records' `split` and `category` say.

    A split of the paper is left out if it has none of the datasets; otherwise it has all of the paper's rows.
    """
    by_name = {result.name: result for result in results}
    splits = []
    for split in paper_results.SPLITS:
        categories = [
            CategoryResult(row, tuple(by_name[name] for name in row.datasets if name in by_name), style)
            for row in split.rows
        ]
        if any(category.datasets for category in categories):
            in_split = {name for row in split.rows for name in row.datasets}
            by_name = {name: result for name, result in by_name.items() if name not in in_split}
            rows = [
                category
                for category in categories
                if category.datasets or category.row.numbers != paper_results.NO_NUMBERS
            ]
            splits.append(SplitResult(split.title, tuple(rows), split.average))
    return splits + _other_splits(by_name, records, style)


def _other_splits(by_name: dict[str, DatasetResult], records: Iterable[Record], style: Style) -> list[SplitResult]:
    splits: dict[str, dict[str, list[DatasetResult]]] = {}
    ungrouped = dict(by_name)
    for record in records:
        if result := ungrouped.pop(record.dataset, None):
            categories = splits.setdefault(record.split or OTHER, {})
            categories.setdefault(record.category or result.name, []).append(result)
    return [
        SplitResult(title, tuple(_other_category(name, results, style) for name, results in categories.items()))
        for title, categories in splits.items()
    ]


def _other_category(title: str, results: Sequence[DatasetResult], style: Style) -> CategoryResult:
    row = paper_results.PaperRow(title, tuple(result.name for result in results))
    return CategoryResult(row, tuple(results), style)


def mean_score(categories: Iterable[CategoryResult]) -> float | None:
    """Returns the mean over the categories that have a score, 0 to 1, or None if none has."""
    values = [category.score for category in categories if category.score is not None]
    return fmean(values) if values else None
