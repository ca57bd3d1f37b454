"""Plots of latencies: their distributions, their phases, against the rate, and by what was seen before."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llava_interleave_serve.benchmarks.load import theme

MEASURES = {"ttft": "time to first token", "itl": "between tokens", "e2e": "end to end"}
POINTS = np.linspace(0, 100, 161)
WHOLE = "total"  # a phase of this name is the sum of the others


def counted(document: dict[str, Any], name: str | None = None) -> list[dict[str, Any]]:
    """The requests that count, of one class or of all."""
    return [one for one in document["requests"] if not one.get("left_out") and name in (None, one["name"])]


def values(requests: Iterable[dict[str, Any]], measure: str) -> list[float]:
    """What the answered requests measured, in seconds."""
    answered = [one for one in requests if not one.get("error")]
    if measure == "itl":
        return [gap for one in answered for gap in one.get("gaps", [])]
    return [one[measure] for one in answered if measure in one]


def curve(axes: Axes, found: list[float], **style: Any) -> None:
    """The share of values that are at most so large."""
    if found:
        axes.plot(np.maximum(np.percentile(found, POINTS), 1e-4), POINTS, **style)


def distributions(document: dict[str, Any]) -> Figure | None:
    """The share of requests that took at most so long, by class; of gaps between tokens, all together in a class."""
    if not values(counted(document), "ttft"):
        return None
    with theme.figure(3.5, columns=3, sharey=True) as (figure, columns):
        for axes, (measure, label) in zip(columns, MEASURES.items(), strict=True):
            for at, name in enumerate(document["classes"]):
                curve(axes, values(counted(document, name), measure), color=theme.colour(at), label=name)
            theme.seconds_axis(axes.xaxis)
            axes.set_xlabel(label)
            axes.set_yticks([0, 50, 90, 99], ["0 %", "50", "90", "99"])
        theme.legend(figure, columns[0])
    return figure


def phases(document: dict[str, Any]) -> Figure | None:
    """The server's own phases, their means one after the other, a bar a class."""
    classes = {name: numbers for name, numbers in document["classes"].items() if numbers["phases"]}
    names = [name for name in document["all"]["phases"] if name != WHOLE]
    if not classes or not names:
        return None
    with theme.figure(1.1 + 0.32 * len(classes)) as (figure, axes):
        places = np.arange(len(classes))
        left = np.zeros(len(classes))
        for at, name in enumerate(names):
            means = np.array([(numbers["phases"].get(name) or {}).get("mean", 0.0) for numbers in classes.values()])
            axes.barh(places, means, left=left, height=0.62, color=theme.colour(at), label=name)
            left += means
        firsts = [(numbers["ttft"] or {}).get("mean", np.nan) for numbers in classes.values()]
        axes.plot(
            firsts, places, "|", color=theme.INK, markersize=15, markeredgewidth=2, label="first token, at the client"
        )
        axes.set_yticks(places, list(classes))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("seconds, mean")
        theme.legend(figure, axes)
    return figure


def against_rate(document: dict[str, Any]) -> Figure | None:
    """Time to first token and good requests at every rate that a search tried; the bracket it ended in is shaded."""
    search = document["search"]
    points = sorted(search["points"], key=lambda point: point["rate"]) if search else []
    if not points:
        return None
    with theme.figure(3.6, columns=2) as (figure, (left, right)):
        for name, style in {"p50": "-", "p90": "--", "p99": ":"}.items():
            found = [(point["rate"], point["ttft"][name]) for point in points if point["ttft"]]
            if found:
                left.plot(*zip(*found, strict=True), style, color=theme.colour(0), label=f"TTFT {name}")
        for met, colour, label in ((True, theme.GOOD, "within every target"), (False, theme.BAD, "not within")):
            found = [(point["rate"], point["ttft"]["p99"]) for point in points if point["met"] is met and point["ttft"]]
            if found:
                left.scatter(*zip(*found, strict=True), s=34, color=colour, label=label, zorder=3)
        for at, name in enumerate(document["classes"]):
            shares = [(p["rate"], 100 * p["classes"][name]["good_share"]) for p in points if name in p["classes"]]
            right.plot(*zip(*shares, strict=True), "o-", markersize=3.5, color=theme.colour(at), label=name)
        theme.seconds_axis(left.yaxis)
        right.set_yticks([0, 25, 50, 75, 100], ["0 %", "25", "50", "75", "100"])
        right.set_ylim(-3, 103)
        for axes in (left, right):
            axes.set_xlabel("arrivals a second")
            if search["low"] and search["high"]:
                axes.axvspan(search["low"], search["high"], color=theme.FAINT, alpha=0.22)
        for axes in (left, right):
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, handlelength=1.2)
    return figure


def repeats(document: dict[str, Any]) -> Figure | None:
    """Time to first token by how the media had been shown before: median, and a thin line to p90."""
    rows = [
        (f"{name}: {kind}", spread, kind)
        for name, numbers in document["classes"].items()
        if len(numbers["repeats"]) > 1
        for kind, spread in numbers["repeats"].items()
    ]
    if not rows:
        return None
    kinds = list(dict.fromkeys(kind for _, _, kind in rows))
    with theme.figure(0.9 + 0.27 * len(rows)) as (figure, axes):
        for at, (_, spread, kind) in enumerate(rows):
            colour = theme.colour(kinds.index(kind))
            axes.barh(at, spread["p50"], height=0.6, color=colour)
            axes.hlines(at, spread["p50"], spread["p90"], color=colour, linewidth=1.5)
        axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("time to first token, seconds: median, line to p90")
    return figure
