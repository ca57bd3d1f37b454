"""The pages: valid, self-contained, small, and with everything in them."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from documents import document

from llava_interleave_serve.benchmarks.load import comparison, report, theme

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def page() -> str:
    return report.html(document(searched=True))


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
    for stand_in in theme.VARIABLES:
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
    found = titles(report.html(made))
    assert "Latency against rate" not in found
    assert "Where the server says the time went" not in found
    assert "What was seen before" not in found


def test_a_run_in_which_everything_failed_has_a_page() -> None:
    made = document(1)
    made["requests"] = [{"number": 0, "name": "images", "due": 0.0, "error": "timeout"}]
    for numbers in (made["all"], *made["classes"].values()):
        numbers.update(ttft=None, itl=None, tpot=None, e2e=None, answered=0, phases={}, repeats={})
    ElementTree.fromstring(report.html(made))


def test_a_long_run_makes_a_small_page() -> None:
    assert len(report.html(document(5000)).encode()) < 1_000_000


def test_what_others_wrote_cannot_become_markup(page: str) -> None:
    assert "text &lt;b&gt;" in page
    assert "<busy>" not in page


def test_the_phase_that_is_their_sum_is_not_stacked(page: str) -> None:
    labels = {element.text for element in ElementTree.fromstring(page).iter(f"{SVG}text")}
    assert {"decode", "prefill"} <= labels
    assert "total" not in labels


def test_two_measurements_stand_side_by_side(compared: str) -> None:
    assert titles(compared) == ["Latency against rate", "Distributions", "Numbers", "Also"]
    assert "a &lt;peer&gt;" in compared


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
