"""Pages of the load test are well-formed, self-contained and small, with every plot and table."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from llava_interleave_serve.benchmarks.load.reports import comparison, html, plot_style
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from tests.support.load.reports import report, with_numbers, with_targets

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def page() -> str:
    return html.render(report(searched=True))


@pytest.fixture(scope="module")
def compared() -> str:
    pair = comparison.Pair(report(searched=True), report(searched=True, seed=1), ("ours", "a <peer>"))
    return comparison.render_html(pair)


@pytest.fixture(params=["page", "compared"])
def either(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def titles(html: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(html).iter("h2")]


def test_a_load_test_page_is_well_formed(either: str) -> None:
    root = ElementTree.fromstring(either)
    assert root.tag == "html"
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    known_ids = set(ids)
    for reference in re.findall(r'(?:url\(#|href="#)([^)"]+)', either):
        assert reference in known_ids, reference


def test_a_load_test_page_loads_nothing_from_elsewhere(either: str) -> None:
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", either)
    assert not re.search(r"<(script|link|iframe|img|object|embed)\b", without_namespaces)
    assert not re.search(r'(src|href)="(?!#)', without_namespaces)
    assert not re.search(r"url\((?!#)|@import", without_namespaces)


def test_a_load_test_page_has_colours_for_light_and_dark_screens(either: str) -> None:
    for placeholder in plot_style.VARIABLES:
        assert placeholder not in either
    used = set(re.findall(r"var\((--[\w-]+)\)", either))
    light, dark = (
        re.search(r":root \{(.*?)\}", either, re.DOTALL),
        re.search(r"dark\) \{\s*:root \{(.*?)\}", either, re.DOTALL),
    )
    assert light is not None
    assert dark is not None
    for block in (light[1], dark[1]):
        assert used <= set(re.findall(r"(--[\w-]+):", block))


def test_a_load_test_page_has_every_plot_and_table(page: str) -> None:
    assert titles(page) == [
        "Classes", "Latency against rate", "Every request", "Distributions", "Where the server says the time went",
        "What was seen before", "Errors", "Answers", "Answered otherwise under load", "Also",
    ]  # fmt: skip
    assert len(list(ElementTree.fromstring(page).iter(f"{SVG}svg"))) == 5


def test_a_plot_without_values_is_left_out() -> None:
    headings = titles(html.render(with_numbers(report(), phases={}, repeats={})))
    assert "Latency against rate" not in headings
    assert "Where the server says the time went" not in headings
    assert "What was seen before" not in headings


def test_a_run_in_which_everything_failed_has_a_page() -> None:
    failed = RequestMetrics(number=0, name="images", conversation=0, turn=0, due=0.0, lag=0.0, error="timeout")
    empty = with_numbers(report(1), ttft=None, itl=None, tpot=None, e2e=None, answered=0, phases={}, repeats={})
    ElementTree.fromstring(html.render(empty.model_copy(update={"requests": (failed,)})))


def test_a_long_run_has_a_small_page() -> None:
    assert len(html.render(report(5000)).encode()) < 1_000_000


def test_text_of_workload_and_server_cannot_become_markup(page: str) -> None:
    assert "text &lt;b&gt;" in page
    assert "<busy>" not in page


def test_the_phase_total_is_not_stacked_in_the_plot_of_phases(page: str) -> None:
    labels = {element.text for element in ElementTree.fromstring(page).iter(f"{SVG}text")}
    assert {"decode", "prefill"} <= labels
    assert "total" not in labels


def test_a_comparison_page_has_two_measurements_side_by_side(compared: str) -> None:
    assert titles(compared) == [
        "a <peer> over ours, green where better", "Latency against rate", "Distributions", "Also",
    ]  # fmt: skip
    assert [summary.text for summary in ElementTree.fromstring(compared).iter("summary")] == ["Every number"]
    assert "a &lt;peer&gt;" in compared


def test_every_class_has_its_ratios_in_a_row_of_a_comparison_page(compared: str) -> None:
    ratios, numbers = ElementTree.fromstring(compared).iter("table")
    rows = [[cell.text for cell in row.iter("td")] for row in ratios.iter("tr")][1:]
    assert [row[0] for row in rows] == ["text <b>", "images", "all"]
    last_columns = [row.findall("td")[-1].text for row in numbers.iter("tr") if row.find("td") is not None]
    assert [ratio for row in rows for ratio in row[1:] if ratio != "-"] == last_columns


def test_a_class_keeps_its_colour_where_others_have_no_requests() -> None:
    both = report()
    requests = tuple(request for request in both.requests if request.name == "images")
    images = both.model_copy(update={"classes": {"images": both.classes["images"]}, "requests": requests})
    root = ElementTree.fromstring(html.render(images))
    assert [element.get("style") for element in root.iter("i")] == ["background: var(--series-1)"]
    for svg in root.iter(f"{SVG}svg"):
        assert "var(--series-0)" not in ElementTree.tostring(svg, encoding="unicode")


def test_a_target_is_in_plots_and_table_if_the_class_has_one(page: str) -> None:
    assert {"target", "target, 95%"} <= {element.text for element in ElementTree.fromstring(page).iter(f"{SVG}text")}
    assert "<td>TTFT 400 ms</td>" in page
    root = ElementTree.fromstring(html.render(with_targets(report(), None)))
    assert "target" not in {element.text for element in root.iter(f"{SVG}text")}
