"""Plots as SVG elements inside a page: the post-processing of what matplotlib writes.

Depends on the output format of matplotlib's SVG backend, which is not documented; it was read in matplotlib 3.11.2, and
each step below deals with one property of it. `plot_style` draws in placeholder colours, which become the style sheet's
variables here, so that the page's light and dark themes apply.
"""

import io
import re
from collections.abc import Callable

import matplotlib as mpl
from matplotlib.figure import Figure

from llava_interleave_serve.benchmarks.load.reports import plot_style

NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def render(draw: Callable[[], Figure | None], name: str) -> str:
    """Renders the figure that `draw` returns as one SVG element without references to anything outside of it.

    Empty if `draw` returns None. `name` differs between the plots of a page, so that no two elements share an id.
    """
    with mpl.rc_context(plot_style.STYLE | {"svg.hashsalt": name, "svg.id": name}):
        figure = draw()
        if figure is None:
            return ""
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    svg = _without_prolog(buffer.getvalue())
    svg = _without_comments(svg)
    svg = _with_class_for_size(svg, name)
    svg = _with_fonts_of_page(svg)
    svg = _with_unique_ids(svg, name)
    svg = _with_short_coordinates(svg)
    return _with_theme_colours(svg)


def _without_prolog(svg: str) -> str:
    """Cuts the XML declaration and the document type, which belong to a file of its own."""
    return svg[svg.index("<svg") :]


def _without_comments(svg: str) -> str:
    """Cuts the metadata and the comments, in which matplotlib repeats each text."""
    return re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)


def _with_class_for_size(svg: str, name: str) -> str:
    """Replaces the size in points by a class, whose width the style sheet sets, and a label for screen readers."""
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'class="plot" role="img" aria-label="{name}"', svg, count=1)


def _with_fonts_of_page(svg: str) -> str:
    """Reduces the font of each text to its size; the style sheet names the family."""
    return re.sub(r"font(-family)?: [^;\"]*'[^;\"]*", _font_size, svg)


def _font_size(style: re.Match[str]) -> str:
    size = re.search(r"[\d.]+px", style[0])
    return f"font-size: {size[0]}" if size else "font-style: normal"


def _with_unique_ids(svg: str, name: str) -> str:
    """Prefixes each id that lacks it, and all references, with the name: others are the same in every figure."""
    svg = re.sub(r' id="(?!' + name + r'")', f' id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    return re.sub(r"url\(#", f"url(#{name}-", svg)


def _with_short_coordinates(svg: str) -> str:
    """Cuts numbers inside of tags to two decimals. Those of texts, which stand between tags, stay whole."""
    return re.sub(r"(\d\.\d{2})\d+(?=[^<>]*>)", r"\1", svg)


def _with_theme_colours(svg: str) -> str:
    """Replaces placeholder colours by the variables of the style sheet."""
    for placeholder, variable in plot_style.VARIABLES.items():
        svg = svg.replace(placeholder, f"var({variable})")
    return svg
