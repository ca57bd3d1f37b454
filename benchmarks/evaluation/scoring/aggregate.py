"""From answers to scores: by data set, category and split, as the reference averages them, or as lmms-eval does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from llava_interleave_serve.benchmarks.evaluation.answer_store import Answers
from llava_interleave_serve.benchmarks.evaluation.dataset.records import Record
from llava_interleave_serve.benchmarks.evaluation.scoring import paper_results
from llava_interleave_serve.benchmarks.evaluation.scoring.metrics import Style, UnsupportedType, metric_of, score

OTHER = "Other data sets"


@dataclass(frozen=True, slots=True)
class Scored:
    """One answered turn. value: 0 to 1, None if it does not count."""

    record: Record
    turn: int
    prediction: str
    refused: str | None
    value: float | None


@dataclass
class DataSet:
    """metric: None if its question_type has none, as `unsupported` explains. unanswered: turns that have no answer."""

    name: str
    metric: str | None
    unsupported: str | None = None
    answers: list[Scored] = field(default_factory=list)
    unanswered: int = 0

    @property
    def values(self) -> list[float]:
        return [answer.value for answer in self.answers if answer.value is not None]

    @property
    def score(self) -> float | None:
        """The mean over what counts, 0 to 1."""
        return fmean(self.values) if self.values else None

    @property
    def refused(self) -> int:
        return sum(answer.refused is not None for answer in self.answers)

    @property
    def chances(self) -> list[float]:
        return [answer.record.chance for answer in self.answers if answer.record.chance is not None]


@dataclass(frozen=True, slots=True)
class Category:
    """A row of a table: data sets, beside the paper's numbers."""

    row: paper_results.Row
    data_sets: tuple[DataSet, ...]
    style: Style

    @property
    def score(self) -> float | None:
        """The mean over data sets; lmms-eval's is over answers."""
        if self.style == "lmms-eval":
            values = [value for one in self.data_sets for value in one.values]
        else:
            values = [one.score for one in self.data_sets if one.score is not None]
        return fmean(values) if values else None

    @property
    def chance(self) -> float | None:
        """The mean over data sets of what guessing gets, where the bench says it."""
        chances = [fmean(one.chances) for one in self.data_sets if one.chances]
        return fmean(chances) if chances else None


@dataclass(frozen=True, slots=True)
class Table:
    """A split: its categories, all of the paper's and those of ours."""

    title: str
    categories: tuple[Category, ...]
    average: paper_results.Numbers = paper_results.NONE


def data_sets(records: Iterable[Record], answers: Answers, style: Style) -> list[DataSet]:
    """Every data set, in the order of its first record, its answers in the bench's order.

    The reference takes the first record's question_type for the whole data set; lmms-eval each record's own.
    """
    found: dict[str, DataSet] = {}
    for record in records:
        data_set = found.get(record.data_set) or _data_set(record)
        found[record.data_set] = data_set
        metric = _data_set(record).metric if style == "lmms-eval" else data_set.metric
        for turn, asked in enumerate(record.turns):
            answer = answers.of(record, turn)
            if answer is None:
                data_set.unanswered += 1
                continue
            said = answer["pred_response"]
            value = None if metric is None else score(metric, said, asked.answer, style)
            data_set.answers.append(Scored(record, turn, said, answer.get("refused"), value))
    return list(found.values())


def _data_set(first: Record) -> DataSet:
    try:
        return DataSet(first.data_set, metric_of(first.data_set, first.question_type))
    except UnsupportedType as unsupported:
        return DataSet(first.data_set, None, str(unsupported))


def tables(found: Sequence[DataSet], records: Iterable[Record], style: Style) -> list[Table]:
    """The paper's splits that have any of the data sets, whole; then the other sets, as their records group them."""
    by_name = {one.name: one for one in found}
    result = []
    for split in paper_results.SPLITS:
        categories = [
            Category(row, tuple(by_name[name] for name in row.data_sets if name in by_name), style)
            for row in split.rows
        ]
        if any(category.data_sets for category in categories):
            known = {name for row in split.rows for name in row.data_sets}
            by_name = {name: one for name, one in by_name.items() if name not in known}
            shown = [one for one in categories if one.data_sets or one.row.numbers != paper_results.NONE]
            result.append(Table(split.title, tuple(shown), split.average))
    return result + _others(by_name, records, style)


def _others(by_name: dict[str, DataSet], records: Iterable[Record], style: Style) -> list[Table]:
    splits: dict[str, dict[str, list[DataSet]]] = {}
    left = dict(by_name)
    for record in records:
        if data_set := left.pop(record.data_set, None):
            categories = splits.setdefault(record.split or OTHER, {})
            categories.setdefault(record.category or data_set.name, []).append(data_set)
    return [
        Table(
            title,
            tuple(
                Category(paper_results.Row(name, tuple(one.name for one in members)), tuple(members), style)
                for name, members in categories.items()
            ),
        )
        for title, categories in splits.items()
    ]


def mean(categories: Iterable[Category]) -> float | None:
    """The mean over the categories that have a score."""
    values = [category.score for category in categories if category.score is not None]
    return fmean(values) if values else None
