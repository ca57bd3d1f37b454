"""Plots of latencies: their distributions, their phases, and by what was seen before."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llava_interleave_serve.benchmarks.load.reports import plot_style

MEASURES = {
    "ttft": "time to first token",
    "e2e": "end to end",
    "itl": "between two tokens",
    "tpot": "a token after the first, mean of a request",
}
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
    """The share of requests that took at most so long, by class; of gaps between tokens, all together in a class.

    A diamond is a class's target: its curve is to reach that share left of there.
    """
    if not values(counted(document), "ttft"):
        return None
    series = plot_style.series(document)
    with plot_style.figure(6.0, columns=2, rows=2, sharey=True) as (figure, grid):
        for axes, (measure, label) in zip(grid.flat, MEASURES.items(), strict=True):
            for name, numbers in document["classes"].items():
                colour = plot_style.colour(series[name])
                curve(axes, values(counted(document, name), measure), color=colour, label=name)
                _target(axes, numbers["target"] or {}, measure, colour)
            plot_style.seconds_axis(axes.xaxis)
            axes.set_title(label)
            axes.set_yticks([0, 50, 90, 99], ["0 %", "50 %", "90 %", "99 %"])
        if any(numbers["target"] for numbers in document["classes"].values()):
            grid[0][0].plot([], [], "D", color=plot_style.FAINT, markersize=5, label="target")
        plot_style.legend(figure, grid[0][0])
    return figure


def _target(axes: Axes, target: dict[str, float], measure: str, colour: str) -> None:
    if measure in target:
        # A target of gaps is one of the longest of a request.
        share = 100.0 if measure == "itl" else 100 * target["share"]
        axes.plot(target[measure], share, "D", color=colour, markersize=5, clip_on=False, zorder=3)


def phases(document: dict[str, Any]) -> Figure | None:
    """The server's own phases, their means one after the other, a bar a class."""
    classes = {name: numbers for name, numbers in document["classes"].items() if numbers["phases"]}
    names = [name for name in document["all"]["phases"] if name != WHOLE]
    if not classes or not names:
        return None
    with plot_style.figure(1.1 + 0.32 * len(classes)) as (figure, axes):
        places = np.arange(len(classes))
        left = np.zeros(len(classes))
        for name, colour in plot_style.phase_colours(names).items():
            means = np.array([(numbers["phases"].get(name) or {}).get("mean", 0.0) for numbers in classes.values()])
            axes.barh(places, means, left=left, height=0.62, color=colour, label=name.replace("_", " "))
            left += means
        firsts = [(numbers["ttft"] or {}).get("mean", np.nan) for numbers in classes.values()]
        axes.plot(
            firsts,
            places,
            "|",
            color=plot_style.INK,
            markersize=15,
            markeredgewidth=2,
            label="first token, at the client",
        )
        axes.set_yticks(places, list(classes))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("mean of the class's requests")
        axes.set_xlim(left=0)
        plot_style.seconds_axis(axes.xaxis, ticks=8)
        plot_style.legend(figure, axes)
    return figure


def repeats(document: dict[str, Any]) -> Figure | None:
    """Time to first token by how the media had been shown before: median, and a thin line to p90. New media in full
    colour, the same again in paler ones.
    """
    series = plot_style.series(document)
    groups = [
        (plot_style.colour(series[name]), name, numbers["repeats"])
        for name, numbers in document["classes"].items()
        if len(numbers["repeats"]) > 1
    ]
    if not groups:
        return None
    labels: list[str] = []
    places: list[float] = []
    with plot_style.figure(0.9 + 0.27 * sum(len(found) + 0.5 for _, _, found in groups)) as (figure, axes):
        for group, (colour, name, found) in enumerate(groups):
            for kind in sorted(found, key=lambda kind: kind != "new"):
                at, spread, alpha = len(labels) + 0.5 * group, found[kind], 1.0 if kind == "new" else 0.5
                axes.barh(at, spread["p50"], height=0.72, color=colour, alpha=alpha)
                axes.hlines(at, spread["p50"], spread["p90"], color=colour, linewidth=1.5)
                labels.append(f"{name}: {kind}")
                places.append(at)
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("time to first token: median, line to p90")
        axes.set_xlim(left=0)
        plot_style.seconds_axis(axes.xaxis, ticks=8)
    return figure
