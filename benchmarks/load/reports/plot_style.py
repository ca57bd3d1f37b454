"""Style of the plots: placeholder colours, figures, axes of seconds and legends.

Plots are drawn in placeholder colours; `svg` replaces each by a variable of the style sheet, so that the page's light
and dark themes apply.
"""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from llava_interleave_serve.benchmarks.load.results.report_data import Report

INK, FAINT, GRID, BAD, GOOD = "#010101", "#010102", "#010103", "#010104", "#010105"
SERIES = tuple(f"#0102{index:02x}" for index in range(1, 11))
# Phases with a colour of their own: reading media in blues, waiting in grey, the engine in warm colours. Phases of
# other names take the remaining colours in turn.
PHASES = ("admission", "fetch", "decode", "preprocess", "queue", "encode", "prefill", "decode_tokens")
PARTS = tuple(f"#0103{index:02x}" for index in range(1, len(PHASES) + 3))
VARIABLES = {INK: "--ink", FAINT: "--faint", GRID: "--grid", BAD: "--bad", GOOD: "--good"} | {
    colour: f"--{kind}-{index}"
    for kind, colours in (("series", SERIES), ("part", PARTS))
    for index, colour in enumerate(colours)
}
MAX_LINEAR_RATIO = 8.0  # largest value over the smallest up to which an axis is linear
MAX_DENSE_RATIO = 300.0  # up to which a logarithmic axis has a label between the powers of ten
WIDTH = 9.6  # inches of 72 SVG units
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.prop_cycle": cycler(color=SERIES),
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "patch.linewidth": 0,
}


def colour(series: int) -> str:
    """The colour of the series of that number; there are ten."""
    return SERIES[series % len(SERIES)]


def series_by_class(report: Report) -> dict[str, int]:
    """The series number of each class: its index in the workload, so that a class keeps its colour where others have
    no requests.
    """
    return {kind.name: index % len(SERIES) for index, kind in enumerate(report.workload.classes)}


def class_colours(report: Report) -> dict[str, str]:
    """The colour of each class."""
    return {name: colour(series) for name, series in series_by_class(report).items()}


def phase_colours(names: Iterable[str]) -> dict[str, str]:
    """The colour of each phase: the same on every page, if its name is one of PHASES."""
    others = itertools.cycle(PARTS[len(PHASES) :])
    return {name: PARTS[PHASES.index(name)] if name in PHASES else next(others) for name in names}


@contextmanager
def figure(height: float, columns: int = 1, rows: int = 1, **options: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure of the page's width and `height` inches, with one or an array of axes, in the style.

    `options` are those of `Figure.subplots`.
    """
    with mpl.rc_context(STYLE):
        styled = Figure(figsize=(WIDTH, height))
        yield styled, styled.subplots(rows, columns, **options)


def set_seconds_axis(axis: Any, ticks: int = 4) -> None:
    """Scales an axis (axes.xaxis or axes.yaxis) of times, with labels in seconds and milliseconds.

    Logarithmic, or linear with about `ticks` intervals if the largest value is at most MAX_LINEAR_RATIO times the
    smallest. To be called after drawing.
    """
    smallest, largest = axis.get_data_interval()
    logarithmic = largest > MAX_LINEAR_RATIO * smallest > 0
    axis.axes.set(**{f"{axis.axis_name}scale": "log" if logarithmic else "linear"})
    subs = (1.0, 3.0) if largest < MAX_DENSE_RATIO * smallest else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=9) if logarithmic else MaxNLocator(ticks))
    axis.set_major_formatter(lambda value, _: tick_label(value))
    axis.set_minor_locator(NullLocator())


def tick_label(seconds: float) -> str:
    """Formats a round time as `1.5 s`, `30 ms` or `0`."""
    if seconds >= 1:
        return f"{seconds:g} s"
    return f"{seconds * 1000:g} ms" if seconds else "0"


def add_legend(figure: Figure, axes: Axes, columns: int = 6, position: str = "upper left") -> None:
    """Adds a legend of what the axes show, outside of all axes: above the figure, or at another `position`."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc=f"outside {position}", ncols=columns, handlelength=1.4)
