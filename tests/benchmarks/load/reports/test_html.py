"""The pages: valid, self-contained, small, and with everything in them."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from matplotlib.figure import Figure

from llava_interleave_serve.benchmarks.load.reports import comparison, html, plot_style, plots_timeline
from tests.support.load_reports import document

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def page() -> str:
    return html.html(document(searched=True))


@pytest.fixture(scope="module")
def compared() -> str:
    return comparison.html([document(searched=True), document(searched=True, seed=1)], ["ours", "a <peer>"])


@pytest.fixture(params=["page", "compared"])
def either(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def titles(html: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(html).iter("h2")]


def test_a_page_is_well_formed(either: str) -> None:
    root = ElementTree.fromstring(either)
    assert root.tag == "html"
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    named = set(ids)
    for reference in re.findall(r'(?:url\(#|href="#)([^)"]+)', either):
        assert reference in named, reference


def test_a_page_needs_nothing_from_elsewhere(either: str) -> None:
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", either)
    assert not re.search(r"<(script|link|iframe|img|object|embed)\b", without_names)
    assert not re.search(r'(src|href)="(?!#)', without_names)
    assert not re.search(r"url\((?!#)|@import", without_names)


def test_a_page_is_in_the_colours_of_the_screen(either: str) -> None:
    for stand_in in plot_style.VARIABLES:
        assert stand_in not in either
    used = set(re.findall(r"var\((--[\w-]+)\)", either))
    light, dark = (
        re.search(r":root \{(.*?)\}", either, re.DOTALL),
        re.search(r"dark\) \{\s*:root \{(.*?)\}", either, re.DOTALL),
    )
    assert light is not None
    assert dark is not None
    for block in (light[1], dark[1]):
        assert used <= set(re.findall(r"(--[\w-]+):", block))


def test_every_plot_and_table_is_there(page: str) -> None:
    assert titles(page) == [
        "Classes", "Latency against rate", "Every request", "Distributions", "Where the server says the time went",
        "What was seen before", "Errors", "Answers", "Answered otherwise under load", "Also",
    ]  # fmt: skip
    assert len(list(ElementTree.fromstring(page).iter(f"{SVG}svg"))) == 5


def test_a_plot_without_values_is_left_out() -> None:
    made = document()
    for numbers in (made["all"], *made["classes"].values()):
        numbers["phases"], numbers["repeats"] = {}, {}
    found = titles(html.html(made))
    assert "Latency against rate" not in found
    assert "Where the server says the time went" not in found
    assert "What was seen before" not in found


def test_a_run_in_which_everything_failed_has_a_page() -> None:
    made = document(1)
    made["requests"] = [{"number": 0, "name": "images", "due": 0.0, "error": "timeout"}]
    for numbers in (made["all"], *made["classes"].values()):
        numbers.update(ttft=None, itl=None, tpot=None, e2e=None, answered=0, phases={}, repeats={})
    ElementTree.fromstring(html.html(made))


def test_a_long_run_makes_a_small_page() -> None:
    assert len(html.html(document(5000)).encode()) < 1_000_000


def test_what_others_wrote_cannot_become_markup(page: str) -> None:
    assert "text &lt;b&gt;" in page
    assert "<busy>" not in page


def test_the_phase_that_is_their_sum_is_not_stacked(page: str) -> None:
    labels = {element.text for element in ElementTree.fromstring(page).iter(f"{SVG}text")}
    assert {"decode", "prefill"} <= labels
    assert "total" not in labels


def test_two_measurements_stand_side_by_side(compared: str) -> None:
    assert titles(compared) == [
        "a <peer> over ours, green where better", "Latency against rate", "Distributions", "Also",
    ]  # fmt: skip
    assert [one.text for one in ElementTree.fromstring(compared).iter("summary")] == ["Every number"]
    assert "a &lt;peer&gt;" in compared


def test_every_class_has_its_ratios_in_a_row(compared: str) -> None:
    ratios, numbers = ElementTree.fromstring(compared).iter("table")
    rows = [[cell.text for cell in row.iter("td")] for row in ratios.iter("tr")][1:]
    assert [row[0] for row in rows] == ["text <b>", "images", "all"]
    last_columns = [row.findall("td")[-1].text for row in numbers.iter("tr") if row.find("td") is not None]
    assert [ratio for row in rows for ratio in row[1:] if ratio != "-"] == last_columns


def test_labels_say_what_they_say_to_the_last_digit() -> None:
    def draw(_: object) -> Figure:
        with plot_style.figure(2) as (figure, axes):
            axes.plot([0, 1], [0, 1], label="0.12345")
            axes.legend()
        return figure

    root = ElementTree.fromstring(plot_style.svg(draw, {}, "digits"))
    assert "0.12345" in {element.text for element in root.iter(f"{SVG}text")}


def test_a_class_keeps_its_colour_where_others_have_no_requests() -> None:
    made = document()
    del made["classes"]["text <b>"]
    made["requests"] = [one for one in made["requests"] if one["name"] == "images"]
    root = ElementTree.fromstring(html.html(made))
    assert [element.get("style") for element in root.iter("i")] == ["background: var(--series-1)"]
    for drawn in root.iter(f"{SVG}svg"):
        assert "var(--series-0)" not in ElementTree.tostring(drawn, encoding="unicode")


def test_a_target_is_drawn_and_told_where_there_is_one(page: str) -> None:
    assert {"target", "target, 95%"} <= {element.text for element in ElementTree.fromstring(page).iter(f"{SVG}text")}
    assert "<td>TTFT 400 ms</td>" in page
    made = document()
    for numbers in made["classes"].values():
        numbers["target"] = None
    assert "target" not in {element.text for element in ElementTree.fromstring(html.html(made)).iter(f"{SVG}text")}


def test_no_two_requests_of_a_row_overlap() -> None:
    requests = [{"due": due, "e2e": e2e} for due, e2e in ((0.0, 5.0), (1.0, 1.0), (3.0, 9.0), (6.0, 1.0), (100.0, 1.0))]
    assert plots_timeline.rows(requests) == [0, 1, 1, 0, 0]


def test_ratios_are_of_the_second_to_the_first_and_say_what_is_better() -> None:
    first, second = document(), document()
    for numbers in (second["all"], *second["classes"].values()):
        numbers["ttft"] = {name: value / 2 for name, value in numbers["ttft"].items()}
        numbers["rates"] = numbers["rates"] | {"tokens": numbers["rates"]["tokens"] / 4}
    rows = {(row[0], row[1]): row[4:] for row in comparison.rows([first, second])}
    assert rows["all", "TTFT p50"] == ("0.50", "good")
    assert rows["images", "tokens/s"] == ("0.25", "bad")
    assert rows["all", "ITL p99"] == ("1.00", "")


def test_what_was_not_measured_alike_is_said() -> None:
    first, second = document(), document()
    second["workload"] = second["workload"] | {"seed": 5}
    second["notes"] = ["3 x frames sent as images"]
    said = comparison.differences([first, second])
    assert "not alike: seed 0 and 5" in said
    assert "only of the second: 3 x frames sent as images" in said
