"""Plots are drawn as SVG elements of a page."""

import xml.etree.ElementTree as ElementTree

from matplotlib.figure import Figure

from llava_interleave_serve.benchmarks.load.reports import plot_style, svg

SVG = "{http://www.w3.org/2000/svg}"


def test_labels_of_a_plot_keep_every_digit() -> None:
    def draw() -> Figure:
        with plot_style.figure(2) as (figure, axes):
            axes.plot([0, 1], [0, 1], label="0.12345")
            axes.legend()
        return figure

    root = ElementTree.fromstring(svg.render(draw, "digits"))
    assert "0.12345" in {element.text for element in root.iter(f"{SVG}text")}


def test_a_plot_that_is_not_drawn_is_empty() -> None:
    assert svg.render(lambda: None, "nothing") == ""
