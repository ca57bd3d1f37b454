"""How plots look: drawn in stand-in colours, which the page's style sheet makes those of a light or dark screen."""

import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

INK, FAINT, GRID, BAD, GOOD = "#010101", "#010102", "#010103", "#010104", "#010105"
SERIES = tuple(f"#0102{at:02x}" for at in range(1, 11))
# The phases that servers tell of: reading media in blues, waiting in grey, the engine in warm colours. What others call
# theirs takes the rest in turn.
PHASES = ("admission", "fetch", "decode", "preprocess", "queue", "encode", "prefill", "decode_tokens")
PARTS = tuple(f"#0103{at:02x}" for at in range(1, len(PHASES) + 3))
VARIABLES = {INK: "--ink", FAINT: "--faint", GRID: "--grid", BAD: "--bad", GOOD: "--good"} | {
    colour: f"--{kind}-{at}"
    for kind, colours in (("series", SERIES), ("part", PARTS))
    for at, colour in enumerate(colours)
}
NARROW = 8.0  # the largest value over the least, up to which an axis is linear
DENSE = 300.0  # up to which a logarithmic one has a label between the powers of ten
WIDTH = 9.6  # inches, of 72 units each
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


def colour(at: int) -> str:
    """The colour of the series of that number."""
    return SERIES[at % len(SERIES)]


def series(document: dict[str, Any]) -> dict[str, int]:
    """The number of each class's series: its place in the workload, so that it keeps its colour where others lack."""
    return {kind["name"]: at % len(SERIES) for at, kind in enumerate(document["workload"]["classes"])}


def phase_colours(names: Iterable[str]) -> dict[str, str]:
    """The colour of each phase: on every page the same, if its name is one of PHASES."""
    others = itertools.cycle(PARTS[len(PHASES) :])
    return {name: PARTS[PHASES.index(name)] if name in PHASES else next(others) for name in names}


@contextmanager
def figure(height: float, columns: int = 1, rows: int = 1, **options: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure of the page's width and one or an array of its axes, drawn in the style."""
    with mpl.rc_context(STYLE):
        made = Figure(figsize=(WIDTH, height))
        yield made, made.subplots(rows, columns, **options)


def svg(draw: Callable[[dict[str, Any]], Figure | None], document: dict[str, Any], name: str) -> str:
    """What `draw` makes of the document, as an SVG element without anything from elsewhere; empty if it makes nothing.

    name: different for every plot of a page, so that no two elements have the same id.
    """
    with mpl.rc_context(STYLE | {"svg.hashsalt": name, "svg.id": name}):
        made = draw(document)
        if made is None:
            return ""
        buffer = io.StringIO()
        made.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_the_page(buffer.getvalue(), name)


def _for_the_page(drawn: str, name: str) -> str:
    """The element alone, in the page's colours, font and width, and every id beginning with the plot's name."""
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", drawn, flags=re.DOTALL)
    drawn = re.sub(
        r'width="[\d.]+pt" height="[\d.]+pt"', f'class="plot" role="img" aria-label="{name}"', drawn, count=1
    )
    drawn = re.sub(r"font(-family)?: [^;\"]*'[^;\"]*", _size_alone, drawn)
    drawn = re.sub(r' id="(?!' + name + r'")', f' id="{name}-', drawn)
    drawn = re.sub(r'href="#', f'href="#{name}-', drawn)
    drawn = re.sub(r"url\(#", f"url(#{name}-", drawn)
    drawn = re.sub(r"(\d\.\d{2})\d+(?=[^<>]*>)", r"\1", drawn)  # of places, not of what labels say
    for stand_in, variable in VARIABLES.items():
        drawn = drawn.replace(stand_in, f"var({variable})")
    return drawn


def _size_alone(style: re.Match[str]) -> str:
    size = re.search(r"[\d.]+px", style[0])
    return f"font-size: {size[0]}" if size else "font-style: normal"


def seconds_axis(axis: Any, ticks: int = 4) -> None:
    """A logarithmic axis (axes.xaxis or axes.yaxis), or, if what is drawn spans little, a linear one; labels in seconds
    and milliseconds. To be called after drawing. ticks: about as many intervals has a linear one.
    """
    least, most = axis.get_data_interval()
    wide = most > NARROW * least > 0
    axis.axes.set(**{f"{axis.axis_name}scale": "log" if wide else "linear"})
    subs = (1.0, 3.0) if most < DENSE * least else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=9) if wide else MaxNLocator(ticks))
    axis.set_major_formatter(lambda value, _: in_seconds(value))
    axis.set_minor_locator(NullLocator())


def in_seconds(value: float) -> str:
    """`1.5 s`, `30 ms` or `0`."""
    if value >= 1:
        return f"{value:g} s"
    return f"{value * 1000:g} ms" if value else "0"


def legend(figure: Figure, axes: Axes, columns: int = 6, place: str = "upper left") -> None:
    """What the axes show, above the whole figure, or elsewhere outside of its axes."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc=f"outside {place}", ncols=columns, handlelength=1.4)
