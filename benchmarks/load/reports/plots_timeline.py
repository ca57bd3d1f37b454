"""Plots over the time of a run: every request from due to end, and how many were in the server."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llava_interleave_serve.benchmarks.load.reports import plot_style

MOST_SHOWN = 400
FREE = 0.01  # of the run's time, between two requests of a row


def timeline(document: dict[str, Any]) -> Figure | None:
    """A line a request, in the first row that is free: faint until its first token, full from there to its end."""
    requests = sorted(document["requests"], key=lambda one: one["due"])
    if not requests:
        return None
    shown = requests[:: -(-len(requests) // MOST_SHOWN)]
    placed = rows(shown)
    most = max(placed) + 1
    height = min(6.8, 2.4 + 0.13 * most)
    with plot_style.figure(height, rows=2, sharex=True, height_ratios=[height - 1.6, 1]) as (figure, (above, below)):
        width = min(9.0, 45 * (height - 1.8) / most)
        series = plot_style.series(document)
        for name in document["classes"]:
            found = [(row, one) for row, one in zip(placed, shown, strict=True) if one["name"] == name]
            _lines(above, found, plot_style.colour(series[name]), name, width)
        failed = [(one["due"], row) for row, one in zip(placed, shown, strict=True) if one.get("error")]
        if failed:
            places = zip(*failed, strict=True)
            above.scatter(*places, marker="x", s=22, color=plot_style.BAD, linewidths=1.6, label="failed", zorder=3)
        above.set_yticks([])
        above.set_ylim(most - 0.4, -0.6)
        above.set_ylabel(f"{len(shown)} requests" + (f" of {len(requests)}" if len(shown) < len(requests) else ""))
        plot_style.legend(figure, above)
        _in_flight(below, requests)
    return figure


def rows(requests: Sequence[dict[str, Any]]) -> list[int]:
    """For each request, by rising times when they were due, a row in which none before it is still there."""
    pause = FREE * (requests[-1]["due"] - requests[0]["due"])
    ends: list[float] = []
    found = []
    for one in requests:
        row = next((at for at, end in enumerate(ends) if end <= one["due"]), len(ends))
        ends[row : row + 1] = [_end(one) + pause]
        found.append(row)
    return found


def _end(one: dict[str, Any]) -> float:
    return float(one["due"] + one.get("e2e", one.get("ttft", 0.0)))


def _lines(axes: Axes, rows: Sequence[tuple[int, dict[str, Any]]], colour: str, name: str, width: float) -> None:
    waits, streams = [], []
    for row, one in rows:
        start, end = one["due"], _end(one)
        first = start + one.get("ttft", end - start)
        waits.append([(start, row), (first, row)])
        streams.append([(first, row), (end, row)])
    axes.add_collection(LineCollection(waits, colors=colour, alpha=0.35, linewidths=width, capstyle="butt"))
    axes.add_collection(LineCollection(streams, colors=colour, linewidths=width, capstyle="butt", label=name))
    axes.autoscale_view()


def _in_flight(axes: Axes, requests: Sequence[dict[str, Any]]) -> None:
    changes = sorted(change for one in requests for change in ((one["due"], 1), (_end(one), -1)))
    times, counts, running = [0.0], [0], 0
    for time, change in changes:
        running += change
        times.append(time)
        counts.append(running)
    step = -(-len(times) // 1500)
    axes.fill_between(times[::step], counts[::step], step="post", color=plot_style.FAINT, alpha=0.35)
    axes.set_ylabel("at once")
    axes.set_xlabel("seconds from the start")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
