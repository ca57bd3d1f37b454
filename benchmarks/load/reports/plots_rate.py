"""The plot of a search: latency, and who was within the targets, at every rate that was tried."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llava_interleave_serve.benchmarks.load.reports import plot_style

QUANTILES = {"p50": "-", "p90": "--", "p99": ":"}


def against_rate(document: dict[str, Any]) -> Figure | None:
    """Time to first token and good requests at every rate that a search tried; the bracket it ended in is shaded."""
    search = document["search"]
    points = sorted(search["points"], key=lambda point: point["rate"]) if search else []
    if not points:
        return None
    with plot_style.figure(4.4, columns=2) as (figure, (left, right)):
        _first_tokens(left, points)
        _good_shares(right, document, points)
        for axes in (left, right):
            axes.set_xlabel("arrivals a second")
            axes.margins(x=0.06)
            if search["low"] and search["high"]:
                axes.axvspan(search["low"], search["high"], color=plot_style.FAINT, alpha=0.22)
        plot_style.legend(figure, right)
        plot_style.legend(figure, left, place="lower left")
    return figure


def _first_tokens(axes: Axes, points: list[dict[str, Any]]) -> None:
    measured = [point for point in points if point["ttft"]]
    rates = [point["rate"] for point in measured]
    for name, style in QUANTILES.items():
        axes.plot(rates, [point["ttft"][name] for point in measured], style, color=plot_style.INK, label=name)
    for met, colour, label in ((True, plot_style.GOOD, "within every target"), (False, plot_style.BAD, "not within")):
        found = [point for point in measured if point["met"] is met]
        if found:
            slowest = [point["ttft"]["p99"] for point in found]
            axes.scatter([point["rate"] for point in found], slowest, s=36, color=colour, label=label, zorder=3)
    axes.set_title("time to first token, all classes")
    plot_style.seconds_axis(axes.yaxis)


def _good_shares(axes: Axes, document: dict[str, Any], points: list[dict[str, Any]]) -> None:
    classes = document["classes"]
    for name, at in plot_style.series(document).items():
        shares = [(p["rate"], 100 * p["classes"][name]["good_share"]) for p in points if name in p["classes"]]
        if shares:
            axes.plot(*zip(*shares, strict=True), "o-", markersize=3.5, color=plot_style.colour(at), label=name)
    for share in sorted({numbers["target"]["share"] for numbers in classes.values() if numbers["target"]}):
        axes.axhline(100 * share, color=plot_style.FAINT, linestyle="--", linewidth=1.2, label=f"target, {share:.0%}")
    axes.set_title("good requests")
    axes.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_ylim(-3, 103)
