"""Two measurements side by side."""

from typing import Any

from matplotlib.figure import Figure

from llava_interleave_serve.benchmarks.load.reports import page, plot_style, plots_latency
from llava_interleave_serve.benchmarks.load.reports import terminal as tables

Documents = list[dict[str, Any]]
# What is compared: its header, where it stands in a class's numbers, and whether less is better.
COMPARED = (
    ("TTFT p50", ("ttft", "p50"), True),
    ("TTFT p99", ("ttft", "p99"), True),
    ("ITL p50", ("itl", "p50"), True),
    ("ITL p99", ("itl", "p99"), True),
    ("TPOT p50", ("tpot", "p50"), True),
    ("e2e p50", ("e2e", "p50"), True),
    ("e2e p99", ("e2e", "p99"), True),
    ("good", ("good_share",), False),
    ("answered/s", ("rates", "requests"), False),
    ("tokens/s", ("rates", "tokens"), False),
)
NEAR = 0.05  # a ratio this near to 1 is neither better nor worse
DASHES = ("-", "--")
SHOWN = ("ttft", "itl", "e2e")  # of plots.MEASURES


def names_of_classes(documents: Documents) -> list[str]:
    """The classes that both have, and `all`."""
    both = [name for name in documents[0]["classes"] if name in documents[1]["classes"]]
    return [*both, "all"]


def _value(document: dict[str, Any], name: str, path: tuple[str, ...]) -> float | None:
    found: Any = document["all"] if name == "all" else document["classes"][name]
    for step in path:
        found = None if found is None else found.get(step)
    return found if found is None else float(found)


def rows(documents: Documents) -> list[tuple[str, str, str, str, str, str]]:
    """Class, measure, both values, the second over the first, and whether the second is `good` or `bad`, or neither."""
    found = []
    for name in names_of_classes(documents):
        for header, path, less_is_better in COMPARED:
            first, second = (_value(document, name, path) for document in documents)
            if first is None or second is None:
                continue
            ratio = second / first if first else float("nan")
            mood = "" if not abs(ratio - 1) > NEAR else "good" if (ratio < 1) == less_is_better else "bad"
            shown = [_shown(value, path) for value in (first, second)]
            found.append((name, header, *shown, "-" if ratio != ratio else f"{ratio:.2f}", mood))
    return found  # type: ignore[return-value]


def _shown(value: float, path: tuple[str, ...]) -> str:
    if path == ("good_share",):
        return f"{value:.1%}"
    return f"{value:.4g}" if path[0] == "rates" else tables.seconds(value)


def table(documents: Documents, names: list[str]) -> str:
    """The comparison for a terminal."""
    lines = [("class", "", *names, "ratio"), *(row[:5] for row in rows(documents))]
    return "\n".join([*tables.aligned(lines), "", *differences(documents)])


def differences(documents: Documents) -> list[str]:
    """In what the two were not measured alike, a sentence each."""
    first, second = documents
    told = {
        "workload": [one["workload"]["name"] for one in documents],
        "seed": [one["workload"]["seed"] for one in documents],
        "arrivals": [tables.told(one) for one in documents],
        "dialect": [one["server"]["dialect"] for one in documents],
    }
    found = [f"not alike: {what} {one} and {other}" for what, (one, other) in told.items() if one != other]
    notes = [
        f"only of the {which}: {note}"
        for which, one, other in (("first", first, second), ("second", second, first))
        for note in one["notes"]
        if note not in other["notes"]
    ]
    return found + notes


def curves(documents: Documents, names: list[str]) -> Figure | None:
    """The distributions of both, the first in full lines, the second in dashes; a row a class, at most eight."""
    classes = [
        name
        for name in names_of_classes(documents)[:-1]
        if all(plots_latency.values(plots_latency.counted(one, name), "ttft") for one in documents)
    ][:8]
    if not classes:
        return None
    size = {"columns": len(SHOWN), "rows": len(classes)}
    with plot_style.figure(0.9 + 1.75 * len(classes), **size, sharey=True, squeeze=False) as (figure, grid):
        for row, name in zip(grid, classes, strict=True):
            for axes, measure in zip(row, SHOWN, strict=True):
                for at, document in enumerate(documents):
                    found = plots_latency.values(plots_latency.counted(document, name), measure)
                    plots_latency.curve(axes, found, color=plot_style.colour(at), linestyle=DASHES[at], label=names[at])
                plot_style.seconds_axis(axes.xaxis)
                axes.set_title(f"{name}: {plots_latency.MEASURES[measure]}")
                axes.set_yticks([0, 50, 90, 99], ["0 %", "50 %", "", "99 %"])
        plot_style.legend(figure, grid[0][0])
    return figure


def searches(documents: Documents, names: list[str]) -> Figure | None:
    """Time to first token against the rate, of both."""
    if not all(document["search"] for document in documents):
        return None
    with plot_style.figure(3.4) as (figure, axes):
        for at, (document, name) in enumerate(zip(documents, names, strict=True)):
            points = sorted(document["search"]["points"], key=lambda point: point["rate"])
            for quantile, style in {"p50": "o-", "p99": "o:"}.items():
                found = [(point["rate"], point["ttft"][quantile]) for point in points if point["ttft"]]
                if found:
                    label = f"{name}, {quantile}"
                    axes.plot(*zip(*found, strict=True), style, markersize=4, color=plot_style.colour(at), label=label)
        plot_style.seconds_axis(axes.yaxis)
        axes.set_xlabel("arrivals a second")
        axes.set_ylabel("time to first token")
        plot_style.legend(figure, axes)
    return figure


def _ratios(documents: Documents) -> list[list[page.Cell | str]]:
    """A row a class, a column each of COMPARED: the second over the first."""
    found = {(name, header): page.Cell(ratio, mood) for name, header, _, _, ratio, mood in rows(documents)}
    return [
        [name, *(found.get((name, header), page.Cell("-")) for header, _, _ in COMPARED)]
        for name in names_of_classes(documents)
    ]


def html(documents: Documents, names: list[str]) -> str:
    """The comparison as a page to look at."""
    title = f"{names[0]} and {names[1]}"
    below = [
        f"{name}: {one['server']['model']} at {one['server']['url']}, {tables.told(one)}"
        for name, one in zip(names, documents, strict=True)
    ]
    cells: list[list[page.Cell | str]] = [[*row[:4], page.Cell(row[4], row[5])] for row in rows(documents)]
    headers = [header for header, _, _ in COMPARED]
    found = [
        f"{name}: {tables.found(one['search'])}" for name, one in zip(names, documents, strict=True) if one["search"]
    ]
    drawn_searches = plot_style.svg(lambda _: searches(documents, names), {}, "searches")
    drawn_curves = plot_style.svg(lambda _: curves(documents, names), {}, "curves")
    return page.page(
        title,
        (
            page.heading(title, below),
            *(
                page.warning(f"{name}: {one['client']['warning']}")
                for name, one in zip(names, documents, strict=True)
                if one["client"]["warning"]
            ),
            page.table(f"{names[1]} over {names[0]}, green where better", ("class", *headers), _ratios(documents)),
            page.plot("Latency against rate", "Each point is a run of its own.", drawn_searches),
            page.plot(
                "Distributions",
                f"The share that took at most so long. Full: {names[0]}; dashes: {names[1]}.",
                drawn_curves,
            ),
            page.folded("Every number", page.table("", ("class", "measure", *names, "ratio"), cells)),
            page.listing("Also", [*found, *differences(documents)]),
        ),
    )
