"""Plots of latencies: their distributions, their phases, and by how media repeat earlier ones."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llava_interleave_serve.benchmarks.load.reports import plot_style
from llava_interleave_serve.benchmarks.load.results.aggregate import ClassTarget, Spread
from llava_interleave_serve.benchmarks.load.results.metric_definitions import LATENCIES, Latency
from llava_interleave_serve.benchmarks.load.results.report_data import Report
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics

PERCENTILES = np.linspace(0, 100, 161)
SHORTEST = 1e-4  # seconds, the least that a curve shows: a logarithmic axis has no 0
TOTAL_PHASE = "total"  # a phase of this name is the sum of the others


def counted(report: Report, class_name: str | None = None) -> list[RequestMetrics]:
    """The requests that count, of one class or of all."""
    return [request for request in report.requests if not request.left_out and class_name in (None, request.name)]


def latencies(requests: Iterable[RequestMetrics], latency: Latency) -> list[float]:
    """Values of a latency of the answered requests, in seconds."""
    return [value for request in requests if request.ok for value in latency.values(request)]


def draw_curve(axes: Axes, values: list[float], **style: Any) -> None:
    """Draws the distribution function: for each value, the percentage of values that are at most as large."""
    if values:
        axes.plot(np.maximum(np.percentile(values, PERCENTILES), SHORTEST), PERCENTILES, **style)


def distributions(report: Report) -> Figure | None:
    """The distribution function of each latency, a curve a class; None if nothing was answered.

    A diamond marks a class's target: its curve has to reach that share left of there. Inter-token latencies of a
    class's requests are taken together.
    """
    if not latencies(counted(report), LATENCIES["ttft"]):
        return None
    colours = plot_style.class_colours(report)
    with plot_style.figure(6.0, columns=2, rows=2, sharey=True) as (figure, grid):
        for axes, latency in zip(grid.flat, LATENCIES.values(), strict=True):
            for name, numbers in report.classes.items():
                values = latencies(counted(report, name), latency)
                draw_curve(axes, values, color=colours[name], label=name)
                if numbers.target is not None:
                    _draw_target(axes, numbers.target, latency, colours[name])
            plot_style.set_seconds_axis(axes.xaxis)
            axes.set_title(latency.title)
            axes.set_yticks([0, 50, 90, 99], ["0 %", "50 %", "90 %", "99 %"])
        if any(numbers.target for numbers in report.classes.values()):
            grid[0][0].plot([], [], "D", color=plot_style.FAINT, markersize=5, label="target")
        plot_style.add_legend(figure, grid[0][0])
    return figure


def _draw_target(axes: Axes, target: ClassTarget, latency: Latency, colour: str) -> None:
    limit = target.limits.get(latency.name)
    if limit is not None:
        # The limit of ITL holds for the longest gap of a request, so for all gaps of the good ones.
        percentage = 100.0 if latency.name == "itl" else 100 * target.share
        axes.plot(limit, percentage, "D", color=colour, markersize=5, clip_on=False, zorder=3)


def phases(report: Report) -> Figure | None:
    """The mean of each phase that the server reports, one after the other, a bar a class; None without phases."""
    classes = {name: numbers for name, numbers in report.classes.items() if numbers.phases}
    names = [name for name in report.all.phases if name != TOTAL_PHASE]
    if not classes or not names:
        return None
    with plot_style.figure(1.1 + 0.32 * len(classes)) as (figure, axes):
        rows = list(range(len(classes)))
        left = np.zeros(len(classes))
        for name, colour in plot_style.phase_colours(names).items():
            means = np.array([_mean(numbers.phases.get(name), 0.0) for numbers in classes.values()])
            axes.barh(rows, means, left=left, height=0.62, color=colour, label=name.replace("_", " "))
            left += means
        first_tokens = [_mean(numbers.ttft, np.nan) for numbers in classes.values()]
        marker = {"color": plot_style.INK, "markersize": 15, "markeredgewidth": 2}
        axes.plot(first_tokens, rows, "|", **marker, label="first token, at the client")
        axes.set_xlabel("mean of the class's requests")
        _set_bar_axes(axes, rows, list(classes))
        plot_style.add_legend(figure, axes)
    return figure


def _mean(spread: Spread | None, default: float) -> float:
    return default if spread is None else spread.mean


def _set_bar_axes(axes: Axes, rows: Sequence[float], labels: list[str]) -> None:
    axes.set_yticks(rows, labels)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(left=0)
    plot_style.set_seconds_axis(axes.xaxis, ticks=8)


class _Bar(NamedTuple):
    row: float
    label: str
    spread: Spread
    colour: str
    alpha: float


def repeats(report: Report) -> Figure | None:
    """Time to first token by how the media repeat earlier ones: the median, and a thin line to p90.

    New media have the class's full colour, repeated ones a paler one. None if no class has both.
    """
    bars = _repeat_bars(report)
    if not bars:
        return None
    with plot_style.figure(0.9 + 0.27 * (bars[-1].row + 1.5)) as (figure, axes):
        for bar in bars:
            axes.barh(bar.row, bar.spread.p50, height=0.72, color=bar.colour, alpha=bar.alpha)
            axes.hlines(bar.row, bar.spread.p50, bar.spread.p90, color=bar.colour, linewidth=1.5)
        axes.set_xlabel("time to first token: median, line to p90")
        _set_bar_axes(axes, [bar.row for bar in bars], [bar.label for bar in bars])
    return figure


def _repeat_bars(report: Report) -> list[_Bar]:
    """The bars of each class that has several kinds of repeats, new media first, half a row between classes."""
    colours = plot_style.class_colours(report)
    classes = {name: numbers.repeats for name, numbers in report.classes.items() if len(numbers.repeats) > 1}
    bars: list[_Bar] = []
    for group, (name, spreads) in enumerate(classes.items()):
        for kind in sorted(spreads, key=lambda kind: kind != "new"):
            row, alpha = len(bars) + 0.5 * group, 1.0 if kind == "new" else 0.5
            bars.append(_Bar(row, f"{name}: {kind}", spreads[kind], colours[name], alpha))
    return bars
