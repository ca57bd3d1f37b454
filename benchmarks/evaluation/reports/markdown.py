"""The score table beside the paper's numbers, as Markdown that a terminal shows well too."""

from collections.abc import Iterator, Sequence

from llava_interleave_serve.benchmarks.evaluation.scoring import paper_results
from llava_interleave_serve.benchmarks.evaluation.scoring.aggregate import (
    CategoryResult,
    SplitResult,
    mean_score,
)
from llava_interleave_serve.benchmarks.reporting import text_tables

OUR_COLUMNS = ("", "n", "score", "chance")
JUDGED_NOTE = "\\* the paper's numbers are a language model's judgement; the score here is the dataset's own metric."


def percent(value: float | None) -> str:
    """Writes a score of 0 to 1 in percent; `-` for None."""
    return "-" if value is None else f"{100 * value:.2f}"


def score_table(splits: Sequence[SplitResult]) -> str:
    """Writes every split with its averages, then the mean over all categories, then the notes."""
    rows = [row for split in splits for row in _split_rows(split)]
    categories = [category for split in splits for category in split.categories]
    overall = percent(mean_score(categories))
    rows.append(["**All categories**", _answer_count(categories), overall, "", *paper_results.NO_NUMBERS])
    table = _without_empty_columns((*OUR_COLUMNS, *paper_results.MODELS), rows)
    return "\n\n".join([table, *notes(categories)]) + "\n"


def _split_rows(split: SplitResult) -> Iterator[list[str]]:
    yield [f"**{split.title}**", *[""] * (len(OUR_COLUMNS) - 1), *paper_results.NO_NUMBERS]
    for category in split.categories:
        title = category.row.title + ("\\*" if category.row.judged else "")
        chance = "" if category.chance is None else percent(category.chance)
        yield [title, _answer_count([category]), percent(category.score), chance, *category.row.numbers]
        if len(category.datasets) > 1 or (category.datasets and category.datasets[0].name not in title):
            for dataset in category.datasets:
                count = str(len(dataset.values))
                yield [f"· {dataset.name}", count, percent(dataset.score), "", *paper_results.NO_NUMBERS]
    yield ["Average", _answer_count(split.categories), percent(mean_score(split.categories)), "", *split.average]


def _answer_count(categories: Sequence[CategoryResult]) -> str:
    return str(sum(len(dataset.values) for category in categories for dataset in category.datasets))


def _without_empty_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Writes the table without the columns, from `chance` on, that are empty in every row."""
    first_optional = OUR_COLUMNS.index("chance")
    columns = [column for column in range(len(header)) if column < first_optional or any(row[column] for row in rows)]
    return text_tables.markdown(
        [header[column] for column in columns], [[row[column] for column in columns] for row in rows]
    )


def notes(categories: Sequence[CategoryResult]) -> Iterator[str]:
    """Yields a sentence for each thing that the numbers do not show: judged rows, and answers that are missing."""
    if any(category.row.judged for category in categories):
        yield JUDGED_NOTE
    for dataset in (dataset for category in categories for dataset in category.datasets):
        if dataset.unsupported:
            yield f"{dataset.name} is not supported: its {dataset.unsupported}."
        if uncounted := len(dataset.answers) - len(dataset.values) if dataset.metric else 0:
            yield f"{dataset.name}: {uncounted} answers do not count, their right answer being empty."
        if dataset.refused:
            yield f"{dataset.name}: {dataset.refused} questions were refused and count as empty answers."
        if dataset.unanswered:
            yield f"**{dataset.name}: {dataset.unanswered} questions are not answered yet.**"
