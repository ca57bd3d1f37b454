"""Scores laid out as in the paper, beside its numbers: a Markdown table that a terminal shows well too."""

from collections.abc import Iterator, Sequence

from llava_interleave_serve.benchmarks.evaluation.scoring import paper_results
from llava_interleave_serve.benchmarks.evaluation.scoring.aggregate import Category, Table, mean
from llava_interleave_serve.benchmarks.reporting import text_tables

OUR_COLUMNS = ("", "n", "score", "chance")
JUDGED = "\\* the paper's numbers are a language model's judgement; the score here is the bench's own metric."


def percent(value: float | None) -> str:
    """Formats a share of 0 to 1 as percent with two decimals; a dash if there is none."""
    return "-" if value is None else f"{100 * value:.2f}"


def text(tables: Sequence[Table]) -> str:
    """The whole report: the splits with their averages, the mean over all categories, and the notes."""
    rows = [row for table in tables for row in _split_rows(table)]
    categories = [category for table in tables for category in table.categories]
    rows.append(["**All categories**", _count(categories), percent(mean(categories)), "", *paper_results.NONE])
    return "\n\n".join([_table((*OUR_COLUMNS, *paper_results.MODELS), rows), *notes(categories)]) + "\n"


def _split_rows(table: Table) -> Iterator[list[str]]:
    """A title, a row a category with its data sets below, and the average."""
    yield [f"**{table.title}**", *[""] * (len(OUR_COLUMNS) - 1), *paper_results.NONE]
    for category in table.categories:
        title = category.row.title + ("\\*" if category.row.judged else "")
        chance = "" if category.chance is None else percent(category.chance)
        yield [title, _count([category]), percent(category.score), chance, *category.row.numbers]
        if len(category.data_sets) > 1 or (category.data_sets and category.data_sets[0].name not in title):
            for data_set in category.data_sets:
                count = str(len(data_set.values))
                yield [f"· {data_set.name}", count, percent(data_set.score), "", *paper_results.NONE]
    yield ["Average", _count(table.categories), percent(mean(table.categories)), "", *table.average]


def _count(categories: Sequence[Category]) -> str:
    return str(sum(len(data_set.values) for category in categories for data_set in category.data_sets))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table without those columns, from `chance` on, in which no row has anything."""
    columns = [
        index for index in range(len(header)) if index < OUR_COLUMNS.index("chance") or any(row[index] for row in rows)
    ]
    return text_tables.markdown(
        [header[index] for index in columns], [[row[index] for index in columns] for row in rows]
    )


def notes(categories: Sequence[Category]) -> Iterator[str]:
    """Sentences about what the numbers do not show: judgements, unsupported types, answers that do not count."""
    if any(category.row.judged for category in categories):
        yield JUDGED
    for data_set in (data_set for category in categories for data_set in category.data_sets):
        name = data_set.name
        if data_set.unsupported:
            yield f"{name} is not supported: its {data_set.unsupported}."
        if uncounted := len(data_set.answers) - len(data_set.values) if data_set.metric else 0:
            yield f"{name}: {uncounted} answers do not count, their right answer being empty."
        if data_set.refused:
            yield f"{name}: {data_set.refused} questions were refused and count as empty answers."
        if data_set.unanswered:
            yield f"**{name}: {data_set.unanswered} questions are not answered yet.**"
