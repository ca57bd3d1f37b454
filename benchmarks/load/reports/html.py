"""The report as an HTML page."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from llava_interleave_serve.benchmarks.load.reports import (
    plot_style,
    plots_latency,
    plots_rate,
    plots_timeline,
    svg,
    terminal,
)
from llava_interleave_serve.benchmarks.load.results.aggregate import ClassNumbers, ClassTarget
from llava_interleave_serve.benchmarks.load.results.metric_definitions import LATENCIES, Metric, select
from llava_interleave_serve.benchmarks.load.results.report_data import Report
from llava_interleave_serve.benchmarks.reporting import pages
from llava_interleave_serve.benchmarks.reporting.pages import Cell, Tile

TEMPLATE = Path(__file__).with_name("report.html.jinja")
TILES = select(
    "requests", "failed", "good", "ttft_p50", "ttft_p99", "itl_p99", "request_rate", "token_rate", "visual_token_rate"
)
ANSWER_LENGTH = 120  # characters shown of an answer


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of the page, which is left out where `draw` returns None."""

    name: str
    """Its prefix of ids."""
    title: str
    caption: str
    draw: Callable[[Report], Figure | None]


class RenderedPlot(NamedTuple):
    """A plot as the template shows it."""

    title: str
    caption: str
    svg: str


PLOTS = (
    Plot(
        "rate",
        "Latency against rate",
        "Each point is a run of its own. Left: time to first token, its p99 marked by whether every class kept its "
        "target. Right: the share of each class's requests that were good. Shaded: where the highest rate lies.",
        plots_rate.against_rate,
    ),
    Plot(
        "timeline",
        "Every request",
        "From when it was due: pale until its first token, full until its end. Below: requests in the server at once.",
        plots_timeline.timeline,
    ),
    Plot(
        "distributions",
        "Distributions",
        "The share of requests (between two tokens: of all gaps) that took at most so long. A diamond is a class's "
        "target: its curve is to reach that share left of there.",
        plots_latency.distributions,
    ),
    Plot(
        "phases",
        "Where the server says the time went",
        "Means of the phases that the server reports, one after the other. Phases that overlap make a bar longer than "
        "what the client saw, which the upright line marks for the first token.",
        plots_latency.phases,
    ),
    Plot(
        "repeats",
        "What was seen before",
        "The same class of request with media that are new, and, paler, with media that the server had been shown.",
        plots_latency.repeats,
    ),
)


def render(report: Report) -> str:
    """Renders the page: one file without anything from elsewhere, valid as XML too."""
    plots = [
        RenderedPlot(plot.title, plot.caption, svg.render(functools.partial(plot.draw, report), plot.name))
        for plot in PLOTS
    ]
    when = report.when.replace("T", " ").replace("+00:00", " UTC")
    return pages.template(TEMPLATE).render(
        title=f"{report.workload.name} on {report.server.model}",
        subtitles=(
            report.workload.description,
            terminal.describe_arrivals(report.arrivals),
            f"{report.server.url}, {when}",
        ),
        warning=report.client.warning,
        tiles=list(_tiles(report)),
        class_headers=[*terminal.headers(), "target"],
        class_rows=_class_rows(report),
        plots=plots,
        error_rows=[(error, str(count)) for error, count in report.all.errors.items()],
        known_answer_rows=_known_answer_rows(report),
        different_rows=_different_rows(report),
        sentences=terminal.sentences(report),
    )


def _tiles(report: Report) -> Iterator[Tile]:
    for metric in TILES:
        yield Tile(metric.title, _tile_text(metric, report), "bad" if _is_failure(metric, report) else "")
    if verification := report.verification:
        mood: pages.Mood = "good" if verification.same == verification.compared else "bad"
        yield Tile("answered as alone", f"{verification.same} of {verification.compared}", mood)
    if known := report.known_answers:
        yield Tile("known answers right", f"{known.right} of {known.answered}")
    if search := report.search:
        yield Tile("highest rate, a second", f"{_short_number(search.low)} - {_short_number(search.high)}")


def _tile_text(metric: Metric, report: Report) -> str:
    return _short_number(metric.read(report.all)) if metric.unit == "1/s" else metric.format(report.all)


def _is_failure(metric: Metric, report: Report) -> bool:
    """True if the metric counts something that should not be, and there is some."""
    return metric.unit == "count" and metric.lower_is_better and bool(metric.read(report.all))


def _short_number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _class_rows(report: Report) -> list[list[Cell]]:
    series = plot_style.series_by_class(report)
    rows = []
    for texts, numbers in zip(terminal.rows(report), report.groups().values(), strict=True):
        cells = [Cell(text) for text in texts]
        cells[0] = Cell(texts[0], series=series.get(texts[0]))
        cells[terminal.FAILED] = Cell(texts[terminal.FAILED], "bad" if numbers.failed else "")
        target = numbers.target if isinstance(numbers, ClassNumbers) else None
        if isinstance(numbers, ClassNumbers) and target:
            cells[terminal.GOOD] = Cell(texts[terminal.GOOD], "good" if numbers.met else "bad")
        rows.append([*cells, Cell(_describe_target(target))])
    return rows


def _describe_target(target: ClassTarget | None) -> str:
    """The limits of a class's target in words, such as `TTFT 1 s, TPOT 150 ms`."""
    limits = target.limits if target else {}
    return ", ".join(
        f"{latency.symbol} {plot_style.tick_label(limits[name])}"
        for name, latency in LATENCIES.items()
        if name in limits
    )


def _known_answer_rows(report: Report) -> list[tuple[str, ...]]:
    classes = report.known_answers.classes if report.known_answers else {}
    return [
        (name, str(count.right), str(count.answered), f"{count.right / count.answered:.1%}")
        for name, count in classes.items()
    ]


def _different_rows(report: Report) -> list[tuple[str, ...]]:
    different = report.verification.different if report.verification else ()
    return [
        (str(pair.number), pair.class_name, pair.alone[:ANSWER_LENGTH], pair.under_load[:ANSWER_LENGTH])
        for pair in different
    ]
