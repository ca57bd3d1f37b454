"""The JSON of a measurement, its table, and what is read back."""

import json
from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.load.reports import terminal
from llava_interleave_serve.benchmarks.load.results import report_data
from tests.support.load_reports import document


def test_the_json_holds_what_its_description_names() -> None:
    made = document(searched=True)
    lines = (report_data.__doc__ or "").splitlines()
    described = {line.split()[0] for line in lines if line.startswith("    ") and not line.startswith("     ")}
    assert described == set(made)
    assert json.loads(json.dumps(made)) == made


def test_a_report_is_read_back_and_another_file_is_not(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    made = document()
    file.write_text(json.dumps(made))
    assert report_data.read(file) == made
    for wrong in ("{}", "[]", "no JSON", '{"schema": 99}'):
        file.write_text(wrong)
        with pytest.raises(report_data.NotAReport):
            report_data.read(file)
    with pytest.raises(report_data.NotAReport):
        report_data.read(tmp_path / "nothing.json")


def test_answers_that_differ_are_shown() -> None:
    verify = document()["verify"]
    assert (verify["asked"], verify["of"], verify["same"]) == (9, 8, 7)
    assert verify["different"] == [
        {"number": 4, "class": "text <b>", "alone": "Another answer", "under_load": "An answer & more"}
    ]


def test_probes_are_counted_by_class() -> None:
    probes = document()["probes"]
    assert probes["of"] == 54
    assert probes["right"] == sum(one["right"] for one in probes["classes"].values())


def test_the_table_has_a_row_a_class_and_one_for_all() -> None:
    shown = terminal.of(document(searched=True))
    rows = [line.split("  ")[0] for line in shown.splitlines()]
    assert {"class", "text <b>", "images", "all"} <= set(rows)
    for said in (
        "failed: 6 x 429 <busy>",
        "Retry-After: 3",
        "verify: 7 of 8 requests were answered under load as alone (1 more were not answered twice)",
        "note: a note",
        "the highest rate within every target is 2/s, less than 3/s (4 runs)",
    ):
        assert said in shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0.00123, "1.2 ms"), (0.0123, "12 ms"), (0.9994, "999 ms"), (12.345, "12.35 s")]
)
def test_seconds_are_short(value: float | None, shown: str) -> None:
    assert terminal.seconds(value) == shown


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(None, 1.0, "no rate down to 1/s"), (8.0, None, "every rate up to 8/s"), (2.0, 3.0, "is 2/s, less than 3/s")],
)
def test_what_a_search_came_to_is_said(low: float | None, high: float | None, said: str) -> None:
    assert said in terminal.found({"low": low, "high": high, "points": []})
