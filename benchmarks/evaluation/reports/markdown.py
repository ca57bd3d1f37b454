"""The scores set out as in the paper, beside its numbers, as a Markdown table that a terminal shows well too."""

from collections.abc import Iterator, Sequence

from llava_interleave_serve.benchmarks.evaluation.scoring import paper_results
from llava_interleave_serve.benchmarks.evaluation.scoring.aggregate import Category, DataSet, Table, mean

OURS = ("", "n", "score", "chance")
JUDGED = "\\* the paper's numbers are a language model's judgement; the score here is the bench's own metric."


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is set left and whose others are set right."""
    widths = [max(len(row[at]) for row in (header, *rows)) for at in range(len(header))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        set_out = [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]
        return "| " + " | ".join(set_out) + " |"

    return "\n".join(map(line, (header, rule, *rows)))


def text(tables: Sequence[Table]) -> str:
    """The whole report: the splits with their averages, the mean over all categories, and what did not count."""
    rows = [row for table in tables for row in _split(table)]
    categories = [category for table in tables for category in table.categories]
    rows.append(["**All categories**", _count(categories), percent(mean(categories)), "", *paper_results.NONE])
    return "\n\n".join([_without_empty_columns((*OURS, *paper_results.MODELS), rows), *notes(categories)]) + "\n"


def _split(table: Table) -> Iterator[list[str]]:
    yield [f"**{table.title}**", *[""] * (len(OURS) - 1), *paper_results.NONE]
    for category in table.categories:
        title = category.row.title + ("\\*" if category.row.judged else "")
        chance = "" if category.chance is None else percent(category.chance)
        yield [title, _count([category]), percent(category.score), chance, *category.row.numbers]
        if len(category.data_sets) > 1 or (category.data_sets and category.data_sets[0].name not in title):
            for one in category.data_sets:
                yield [f"· {one.name}", str(len(one.values)), percent(one.score), "", *paper_results.NONE]
    yield ["Average", _count(table.categories), percent(mean(table.categories)), "", *table.average]


def _count(categories: Sequence[Category]) -> str:
    return str(sum(len(one.values) for category in categories for one in category.data_sets))


def _without_empty_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    kept = [at for at in range(len(header)) if at < OURS.index("chance") or any(row[at] for row in rows)]
    return markdown([header[at] for at in kept], [[row[at] for at in kept] for row in rows])


def notes(categories: Sequence[Category]) -> Iterator[str]:
    """What the numbers do not say, a sentence each."""
    members: list[DataSet] = [one for category in categories for one in category.data_sets]
    if any(category.row.judged for category in categories):
        yield JUDGED
    for one in members:
        if one.unsupported:
            yield f"{one.name} is not supported: its {one.unsupported}."
        if uncounted := len(one.answers) - len(one.values) if one.metric else 0:
            yield f"{one.name}: {uncounted} answers do not count, their right answer being empty."
        if one.refused:
            yield f"{one.name}: {one.refused} questions were refused and count as empty answers."
        if one.unanswered:
            yield f"**{one.name}: {one.unanswered} questions are not answered yet.**"
