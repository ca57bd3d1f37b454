"""Pages share a frame and sections that escape their values."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jinja2
import pytest

from llava_interleave_serve.benchmarks.reporting import pages
from llava_interleave_serve.benchmarks.reporting.pages import Cell, Tile

PAGE = """{% extends "base.html.jinja" %}
{% import "macros.html.jinja" as page %}
{% block title %}{{ title }}{% endblock %}
{% block main %}
{{ page.heading(title, lines) }}
{{ page.warning(warning) }}
{{ page.tile_grid(tiles) }}
{{ page.table("Table", ("a", "b"), rows) }}
{{ page.figure("Figure", "caption", svg) }}
{{ page.list("List", items) }}
{% endblock %}
"""
EMPTY = {"title": "<T>", "lines": (), "warning": "", "tiles": (), "rows": (), "svg": "", "items": ()}


@pytest.fixture
def template(tmp_path: Path) -> jinja2.Template:
    file = tmp_path / "page.html.jinja"
    file.write_text(PAGE)
    return pages.template(file)


def test_every_value_in_a_page_is_escaped(template: jinja2.Template) -> None:
    hostile = "<script>&"
    page = template.render(
        title=hostile,
        lines=[hostile],
        warning=hostile,
        tiles=[Tile(hostile, hostile)],
        rows=[[hostile, Cell(hostile, "bad", 3)]],
        svg="",
        items=[hostile],
    )
    assert hostile not in page
    root = ElementTree.fromstring(page)
    assert [element.text for element in root.iter() if element.text == hostile] == [hostile] * 8
    assert [element.get("style") for element in root.iter("i")] == ["background: var(--series-3)"]
    assert "<td>&lt;script&gt;&amp;</td>" in page
    assert '<td class="bad"><i style="background: var(--series-3)"></i>&lt;script&gt;&amp;</td>' in page


def test_an_empty_section_of_a_page_is_left_out_with_its_title(template: jinja2.Template) -> None:
    root = ElementTree.fromstring(template.render(EMPTY))
    assert not {element.tag for element in root.iter()} & {"h2", "table", "figure", "ul", "p"}


def test_a_plot_is_put_into_a_page_unescaped(template: jinja2.Template) -> None:
    assert '<div class="wide"><svg/></div>' in template.render(EMPTY | {"svg": "<svg/>"})


def test_a_name_that_a_template_lacks_is_an_error(template: jinja2.Template) -> None:
    with pytest.raises(jinja2.UndefinedError):
        template.render(title="T")


def test_the_content_policy_of_a_page_lets_it_load_nothing(template: jinja2.Template) -> None:
    root = ElementTree.fromstring(template.render(EMPTY))
    (policy,) = [meta.get("content") for meta in root.iter("meta") if meta.get("http-equiv")]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
