"""Plot of a search: latency and good requests at every rate that was tried."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llava_interleave_serve.benchmarks.load.reports import plot_style
from llava_interleave_serve.benchmarks.load.results.metric_definitions import METRICS
from llava_interleave_serve.benchmarks.load.results.rate_search import SearchPoint
from llava_interleave_serve.benchmarks.load.results.report_data import Report

QUANTILE_STYLES = {"p50": "-", "p90": "--", "p99": ":"}


def against_rate(report: Report) -> Figure | None:
    """Time to first token and good requests against the rate; the bracket of the search is shaded. None without one."""
    search = report.search
    if search is None or not search.points:
        return None
    points = sorted(search.points, key=lambda point: point.rate)
    with plot_style.figure(4.4, columns=2) as (figure, (left, right)):
        _draw_first_tokens(left, points)
        _draw_good_shares(right, report, points)
        for axes in (left, right):
            axes.set_xlabel("arrivals a second")
            axes.margins(x=0.06)
            if search.low and search.high:
                axes.axvspan(search.low, search.high, color=plot_style.FAINT, alpha=0.22)
        plot_style.add_legend(figure, right)
        plot_style.add_legend(figure, left, position="lower left")
    return figure


def first_token_curve(points: Sequence[SearchPoint], quantile: str) -> tuple[list[float], list[float]]:
    """Rates, and a quantile of the time to first token at each in seconds; points without an answer are left out."""
    values = [(point.rate, METRICS[f"ttft_{quantile}"].read(point)) for point in points]
    known = [(rate, value) for rate, value in values if value is not None]
    return [rate for rate, _ in known], [value for _, value in known]


def _draw_first_tokens(axes: Axes, points: Sequence[SearchPoint]) -> None:
    for quantile, style in QUANTILE_STYLES.items():
        axes.plot(*first_token_curve(points, quantile), style, color=plot_style.INK, label=quantile)
    for met, colour, label in ((True, plot_style.GOOD, "within every target"), (False, plot_style.BAD, "not within")):
        rates, slowest = first_token_curve([point for point in points if point.met is met], "p99")
        if rates:
            axes.scatter(rates, slowest, s=36, color=colour, label=label, zorder=3)
    axes.set_title("time to first token, all classes")
    plot_style.set_seconds_axis(axes.yaxis)


def _draw_good_shares(axes: Axes, report: Report, points: Sequence[SearchPoint]) -> None:
    for name, colour in plot_style.class_colours(report).items():
        measured = [(point.rate, point.classes[name].good_share) for point in points if name in point.classes]
        shares = [(rate, 100 * share) for rate, share in measured if share is not None]
        if shares:
            axes.plot(*zip(*shares, strict=True), "o-", markersize=3.5, color=colour, label=name)
    for share in sorted({numbers.target.share for numbers in report.classes.values() if numbers.target}):
        axes.axhline(100 * share, color=plot_style.FAINT, linestyle="--", linewidth=1.2, label=f"target, {share:.0%}")
    axes.set_title("good requests")
    axes.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_ylim(-3, 103)
