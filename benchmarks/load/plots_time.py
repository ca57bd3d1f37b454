"""Plots over the time of a run: every request from due to end, and how many were in the server."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llava_interleave_serve.benchmarks.load import theme

MOST_SHOWN = 400


def timeline(document: dict[str, Any]) -> Figure | None:
    """A line a request: faint until its first token, full from there to its end; a cross where it failed."""
    requests = sorted(document["requests"], key=lambda one: one["due"])
    if not requests:
        return None
    shown = requests[:: -(-len(requests) // MOST_SHOWN)]
    names = list(document["classes"])
    height = min(6.5, 2.4 + 0.016 * len(shown))
    with theme.figure(height, rows=2, sharex=True, height_ratios=[3.2, 1]) as (figure, (above, below)):
        for at, name in enumerate(names):
            _lines(above, [(row, one) for row, one in enumerate(shown) if one["name"] == name], theme.colour(at), name)
        failed = [(one["due"], row) for row, one in enumerate(shown) if one.get("error")]
        if failed:
            places = zip(*failed, strict=True)
            above.scatter(*places, marker="x", s=18, color=theme.BAD, linewidths=1.4, label="failed", zorder=3)
        above.set_yticks([])
        above.set_ylabel(f"{len(shown)} requests" + (f" of {len(requests)}" if len(shown) < len(requests) else ""))
        above.grid(axis="y", visible=False)
        above.invert_yaxis()
        theme.legend(figure, above)
        _in_flight(below, requests)
    return figure


def _lines(axes: Axes, rows: Sequence[tuple[int, dict[str, Any]]], colour: str, name: str) -> None:
    waits, streams = [], []
    for row, one in rows:
        start, first, end = one["due"], one.get("ttft", one.get("e2e", 0.0)), one.get("e2e", one.get("ttft", 0.0))
        waits.append([(start, row), (start + first, row)])
        streams.append([(start + first, row), (start + end, row)])
    axes.add_collection(LineCollection(waits, colors=colour, alpha=0.35, linewidths=1.6))
    axes.add_collection(LineCollection(streams, colors=colour, linewidths=2.2, label=name))
    axes.autoscale_view()


def _in_flight(axes: Axes, requests: Sequence[dict[str, Any]]) -> None:
    changes = sorted(
        change
        for one in requests
        for change in ((one["due"], 1), (one["due"] + one.get("e2e", one.get("ttft", 0.0)), -1))
    )
    times, counts, running = [0.0], [0], 0
    for time, change in changes:
        running += change
        times.append(time)
        counts.append(running)
    step = -(-len(times) // 1500)
    axes.fill_between(times[::step], counts[::step], step="post", color=theme.FAINT, alpha=0.25)
    axes.set_ylabel("in the server")
    axes.set_xlabel("seconds from the start")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
