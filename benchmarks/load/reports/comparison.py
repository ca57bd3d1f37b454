"""Comparison of two reports, for a terminal and as an HTML page."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from llava_interleave_serve.benchmarks.load.reports import plot_style, plots_latency, plots_rate, svg, terminal
from llava_interleave_serve.benchmarks.load.reports.html import RenderedPlot
from llava_interleave_serve.benchmarks.load.results.aggregate import GroupNumbers
from llava_interleave_serve.benchmarks.load.results.metric_definitions import (
    LATENCIES,
    LatencyName,
    Metric,
    format_value,
    select,
)
from llava_interleave_serve.benchmarks.load.results.report_data import Report
from llava_interleave_serve.benchmarks.reporting import pages, text_tables
from llava_interleave_serve.benchmarks.reporting.pages import Cell, Mood

TEMPLATE = Path(__file__).with_name("comparison.html.jinja")
COMPARED = select(
    "ttft_p50", "ttft_p99", "itl_p50", "itl_p99", "tpot_p50", "e2e_p50", "e2e_p99", "good", "request_rate", "token_rate"
)
PLOTTED = (LATENCIES["ttft"], LATENCIES["itl"], LATENCIES["e2e"])
TOLERANCE = 0.05  # a ratio within this of 1 is neither better nor worse
LINE_STYLES = ("-", "--")
MAX_PLOTTED_CLASSES = 8


class Pair(NamedTuple):
    """The two reports, with what to call them."""

    first: Report
    second: Report
    names: tuple[str, str]

    @property
    def named(self) -> list[tuple[str, Report]]:
        """Each report with its name."""
        return list(zip(self.names, (self.first, self.second), strict=True))


class Row(NamedTuple):
    """A metric of a class in both reports."""

    class_name: str
    metric: str
    """Label of the metric."""
    first: str
    second: str
    ratio: str
    """Second value over the first; a dash if the first is 0."""
    mood: Mood
    """`good` or `bad` if the second report is clearly better or worse."""


def common_classes(pair: Pair) -> list[str]:
    """Names of the classes that both reports have."""
    return [name for name in pair.first.classes if name in pair.second.classes]


def _latencies(report: Report, class_name: str, latency: LatencyName) -> list[float]:
    return plots_latency.latencies(plots_latency.counted(report, class_name), LATENCIES[latency])


def _numbers(report: Report, class_name: str) -> GroupNumbers:
    return report.all if class_name == "all" else report.classes[class_name]


def rows(pair: Pair) -> list[Row]:
    """Every compared metric of each common class and of all requests, where both reports have a value."""
    compared = []
    for name in [*common_classes(pair), "all"]:
        for metric in COMPARED:
            first, second = (metric.read(_numbers(report, name)) for report in (pair.first, pair.second))
            if first is not None and second is not None:
                compared.append(_row(name, metric, first, second))
    return compared


def _row(class_name: str, metric: Metric, first: float, second: float) -> Row:
    ratio = second / first if first else math.nan
    return Row(
        class_name,
        metric.label,
        format_value(first, metric.unit),
        format_value(second, metric.unit),
        "-" if math.isnan(ratio) else f"{ratio:.2f}",
        _mood(ratio, lower_is_better=metric.lower_is_better),
    )


def _mood(ratio: float, *, lower_is_better: bool) -> Mood:
    if math.isnan(ratio) or abs(ratio - 1) <= TOLERANCE:
        return ""
    return "good" if (ratio < 1) == lower_is_better else "bad"


def differences(pair: Pair) -> list[str]:
    """Conditions and notes that the two reports do not have in common, a sentence each."""
    conditions: dict[str, Callable[[Report], object]] = {
        "workload": lambda report: report.workload.name,
        "seed": lambda report: report.workload.seed,
        "arrivals": lambda report: terminal.describe_arrivals(report.arrivals),
        "dialect": lambda report: report.server.dialect,
    }
    unlike = [
        f"not alike: {name} {read(pair.first)} and {read(pair.second)}"
        for name, read in conditions.items()
        if read(pair.first) != read(pair.second)
    ]
    notes = [
        f"only of the {which}: {note}"
        for which, report, other in (("first", pair.first, pair.second), ("second", pair.second, pair.first))
        for note in report.notes
        if note not in other.notes
    ]
    return unlike + notes


def render_text(pair: Pair) -> str:
    """Renders the comparison for a terminal."""
    table = [("class", "", *pair.names, "ratio"), *(row[:5] for row in rows(pair))]
    return "\n".join([*text_tables.aligned(table), "", *differences(pair)])


def curves(pair: Pair) -> Figure | None:
    """The distribution functions of both reports, the first in full lines, the second in dashes; a row a class.

    None if no class has answers in both.
    """
    classes = [
        name
        for name in common_classes(pair)
        if all(_latencies(report, name, "ttft") for report in (pair.first, pair.second))
    ][:MAX_PLOTTED_CLASSES]
    if not classes:
        return None
    layout = {"columns": len(PLOTTED), "rows": len(classes), "sharey": True, "squeeze": False}
    with plot_style.figure(0.9 + 1.75 * len(classes), **layout) as (figure, grid):
        for axes_of_class, name in zip(grid, classes, strict=True):
            for axes, latency in zip(axes_of_class, PLOTTED, strict=True):
                for index, (label, report) in enumerate(pair.named):
                    style = {"color": plot_style.colour(index), "linestyle": LINE_STYLES[index], "label": label}
                    plots_latency.draw_curve(axes, _latencies(report, name, latency.name), **style)
                plot_style.set_seconds_axis(axes.xaxis)
                axes.set_title(f"{name}: {latency.title}")
                axes.set_yticks([0, 50, 90, 99], ["0 %", "50 %", "", "99 %"])
        plot_style.add_legend(figure, grid[0][0])
    return figure


def searches(pair: Pair) -> Figure | None:
    """Time to first token against the rate, of both reports; None unless both searched."""
    if pair.first.search is None or pair.second.search is None:
        return None
    with plot_style.figure(3.4) as (figure, axes):
        for index, (name, search) in enumerate(zip(pair.names, (pair.first.search, pair.second.search), strict=True)):
            points = sorted(search.points, key=lambda point: point.rate)
            for quantile, style in {"p50": "o-", "p99": "o:"}.items():
                rates, seconds = plots_rate.first_token_curve(points, quantile)
                if rates:
                    label = f"{name}, {quantile}"
                    axes.plot(rates, seconds, style, markersize=4, color=plot_style.colour(index), label=label)
        plot_style.set_seconds_axis(axes.yaxis)
        axes.set_xlabel("arrivals a second")
        axes.set_ylabel("time to first token")
        plot_style.add_legend(figure, axes)
    return figure


def render_html(pair: Pair) -> str:
    """Renders the comparison as a page: one file without anything from elsewhere, valid as XML too."""
    first, second = pair.names
    plots = (
        RenderedPlot(
            "Latency against rate",
            "Each point is a run of its own.",
            svg.render(lambda: searches(pair), "searches"),
        ),
        RenderedPlot(
            "Distributions",
            f"The share that took at most so long. Full: {first}; dashes: {second}.",
            svg.render(lambda: curves(pair), "curves"),
        ),
    )
    outcomes = [f"{name}: {terminal.describe_search(report.search)}" for name, report in pair.named if report.search]
    return pages.template(TEMPLATE).render(
        title=f"{first} and {second}",
        subtitles=[
            f"{name}: {report.server.model} at {report.server.url}, {terminal.describe_arrivals(report.arrivals)}"
            for name, report in pair.named
        ],
        warnings=[f"{name}: {report.client.warning}" for name, report in pair.named if report.client.warning],
        ratio_title=f"{second} over {first}, green where better",
        ratio_headers=["class", *(metric.label for metric in COMPARED)],
        ratio_rows=_ratio_rows(pair),
        plots=plots,
        number_headers=("class", "metric", *pair.names, "ratio"),
        number_rows=[[*row[:4], Cell(row.ratio, row.mood)] for row in rows(pair)],
        sentences=[*outcomes, *differences(pair)],
    )


def _ratio_rows(pair: Pair) -> list[list[Cell]]:
    """A row a class, a column each of COMPARED."""
    ratios = {(row.class_name, row.metric): Cell(row.ratio, row.mood) for row in rows(pair)}
    return [
        [Cell(name), *(ratios.get((name, metric.label), Cell("-")) for metric in COMPARED)]
        for name in [*common_classes(pair), "all"]
    ]
