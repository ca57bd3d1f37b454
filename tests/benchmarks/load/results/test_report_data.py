"""Reports are written as JSON, and only reports are read back."""

import dataclasses
import json
import platform
from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.results import report_data
from llava_interleave_serve.benchmarks.load.results.report_data import NotAReport, Report, RunResult
from tests.support.load.exchanges import record
from tests.support.load.reports import SERVER, WORK, report

EXAMPLES = Path(report_data.__file__).resolve().parents[2] / "examples"


def test_the_schema_of_a_report_describes_every_field_of_its_json() -> None:
    written = json.loads(report(searched=True).model_dump_json())
    schema = Report.model_json_schema()
    assert list(schema["properties"]) == list(written)
    assert written["schema"] == 2
    described = schema["properties"] | schema["$defs"]["RequestMetrics"]["properties"]
    described |= schema["$defs"]["GroupNumbers"]["properties"]
    undescribed = {name for name, field in described.items() if "description" not in field and "$ref" not in field}
    assert undescribed == set()


def test_a_report_is_read_back_and_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for written in (report(), report(searched=True)):
        file.write_text(written.model_dump_json())
        assert report_data.read(file) == written
    for wrong in ("{}", "[]", "no JSON", '{"schema": 99}', '{"schema": 2}', '{"schema": 2, "unknown": 0}'):
        file.write_text(wrong)
        with pytest.raises(NotAReport):
            report_data.read(file)
    with pytest.raises(NotAReport):
        report_data.read(tmp_path / "nothing.json")


def test_a_report_of_version_1_is_refused_as_such(tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    file.write_text('{"schema": 1, "when": "2026-11-24T20:20:53+00:00"}')
    with pytest.raises(NotAReport, match=r"old.json is a report of version 1; this tool reads version 2 alone$"):
        report_data.read(file)


def test_a_report_value_of_another_type_is_refused_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    content = json.loads(report().model_dump_json())
    content["all"]["ttft"]["p50"] = "soon"
    file.write_text(json.dumps(content))
    with pytest.raises(NotAReport, match=r"all\.ttft\.p50: .*number"):
        report_data.read(file)


@pytest.mark.parametrize("name", ["demo", "highest"])
def test_the_committed_examples_are_reports(name: str) -> None:
    example = report_data.read(EXAMPLES / f"{name}.json")
    assert example.all.answered == example.all.requests
    assert (example.search is not None) == (name == "highest")


def test_a_report_has_the_environment_of_its_measurement() -> None:
    environment = report().environment
    assert environment is not None
    assert environment.python == platform.python_version()
    assert environment.version
    assert environment.cpus


def test_requests_are_rounded_to_the_microsecond_and_without_empty_values() -> None:
    run = RunResult([record(ttft=0.123456789, gaps=[1 / 3], phases={"decode": 2 / 3}, name="images")], [])
    built = report_data.build(Options("http://host:1", "made up"), WORK, SERVER, run, None)
    assert dataclasses.asdict(built.requests[0])["phases"] == {"decode": 0.666667}
    assert json.loads(built.model_dump_json())["requests"] == [
        {
            "number": 0, "name": "images", "conversation": 0, "turn": 0, "due": 0.0, "lag": 0.0, "ttft": 0.123457,
            "e2e": 1.0, "tpot": 0.1, "gaps": [0.333333], "tokens": 2, "images": 0, "frames": 0,
            "phases": {"decode": 0.666667},
        }
    ]  # fmt: skip
