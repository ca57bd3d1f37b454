"""`make gpu-check` runs its steps within its time, and fails on a wrong result only."""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from llava_interleave_serve.benchmarks.gpu_check import cli, options, results, runner, steps
from llava_interleave_serve.benchmarks.gpu_check.results import Finished, table
from llava_interleave_serve.benchmarks.gpu_check.steps import Served, Step

CHECKPOINT = Path("some/checkpoint")
STEPS = steps.all_steps(CHECKPOINT)
SERVERS = list({step.server.name: step.server for step in STEPS if step.server is not None}.values())
SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/end":
            os._exit(3)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""
ASKS = "import httpx; print(httpx.get('{url}/').status_code)"


def step(code: str, **fields: object) -> Step:
    given: dict[str, object] = {"name": "a step", "decides": True, "seconds": 60, **fields}
    return Step(command=[sys.executable, "-c", code], **given)  # type: ignore[arg-type]


def served(code: str, **fields: object) -> Served:
    given: dict[str, object] = {"name": "a server", "options": [], "route": "/", "parser": "", **fields}
    return Served(command=[sys.executable, "-c", code], **given)  # type: ignore[arg-type]


def check(*run: Step, folder: Path, seconds: float = 600.0) -> list[results.Result]:
    return runner.check(run, folder, has_gpu=True, seconds=seconds)


def test_the_last_line_of_a_step_is_kept_and_its_environment_set(tmp_path: Path) -> None:
    found = check(
        step("print('text'); print('{{\"us\": 3}}')", name="good"),
        step(
            "import os; print(os.environ['WANTED'])",
            name="shown",
            read=results.last_line,
            environment={"WANTED": "yes"},
        ),
        folder=tmp_path,
    )
    assert [(each.outcome, each.found) for each in found] == [("passed", {"us": 3}), ("passed", "yes")]
    assert '| good | passed | 0 | {"us": 3} |' in table(found, "title")


def test_a_failure_is_wrong_where_the_step_decides_and_only_named_where_it_does_not(tmp_path: Path) -> None:
    bad = "raise SystemExit('broken')"
    found = check(step(bad), step(bad, decides=False), step("print('no JSON')"), folder=tmp_path)
    assert [each.outcome for each in found] == ["wrong", "failed", "wrong"]
    assert [each.why for each in found] == ["exit code 1", "exit code 1", "the last line is not JSON"]


def test_a_step_that_takes_too_long_is_ended_with_what_it_started_and_what_finds_no_time_is_left_out(
    tmp_path: Path,
) -> None:
    started = tmp_path / "started"
    slow = (
        "import pathlib, subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; "
        f"time.sleep(600)']); pathlib.Path('{started}').write_text(str(child.pid)); time.sleep(600)"
    )
    late = check(step("print(1)"), folder=tmp_path, seconds=0)
    assert [(each.outcome, each.why) for each in late] == [("left out", "no time is left")]
    assert runner.run(step(slow), 5, tmp_path).outcome == "ended"
    child = int(started.read_text())
    with contextlib.suppress(psutil.NoSuchProcess):  # a killed process is there for a moment
        _, left = psutil.wait_procs([psutil.Process(child)], timeout=60)
        assert all(each.status() == psutil.STATUS_ZOMBIE for each in left)


def test_a_server_is_started_once_for_the_steps_that_ask_it_and_its_start_is_a_result(tmp_path: Path) -> None:
    server = served(SERVER)
    asks = step(ASKS, server=server)
    found = check(asks, asks, step(ASKS, server=served(SERVER, name="another")), folder=tmp_path)
    names = ["start, a server", "a step", "a step", "start, another", "a step"]
    assert [each.name for each in found] == names
    assert {each.outcome for each in found} == {"passed"}
    assert found[0].found["seconds_to_ready"] > 0
    assert [each.found for each in found if each.name == "a step"] == [200] * 3


@pytest.mark.parametrize(("decides", "outcome"), [(True, "wrong"), (False, "failed")])
def test_steps_of_a_server_that_does_not_start_are_left_out(decides: bool, outcome: str, tmp_path: Path) -> None:
    asks = step(ASKS, server=served("raise SystemExit('no memory')", decides=decides))
    found = check(asks, asks, folder=tmp_path)
    assert [each.outcome for each in found] == [outcome, "left out", "left out"]
    assert "no memory" in str(found[0].why)
    assert found[1].why == "its server did not start"


@pytest.mark.parametrize(("own", "whole", "outcome"), [(1, 600, "wrong"), (600, 2, "ended")], ids=["own", "whole"])
def test_a_server_that_hangs_at_its_start_is_wrong_unless_the_checks_own_time_is_over(
    own: int, whole: int, outcome: str, tmp_path: Path
) -> None:
    server = served("import time; time.sleep(600)", decides=True, seconds=own)
    assert check(step(ASKS, server=server), folder=tmp_path, seconds=whole)[0].outcome == outcome


def test_an_interrupted_check_ends_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    communicate = subprocess.Popen.communicate
    running: list[subprocess.Popen[str]] = []

    def interrupted(process: subprocess.Popen[str], timeout: float | None = None) -> tuple[str, str]:
        if not running:
            running.append(process)
            raise KeyboardInterrupt
        return communicate(process, timeout=timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run(step("import time; time.sleep(600)"), 60, tmp_path)
    assert running[0].returncode == -signal.SIGKILL


def test_it_is_wrong_that_our_server_ends_while_a_step_asks_it(tmp_path: Path) -> None:
    ends = """
import httpx, time
try:
    httpx.get("{url}/end")
except httpx.TransportError:
    time.sleep(1)
    print(1)
"""
    found = check(step(ends, server=served(SERVER, decides=True), decides=False), folder=tmp_path)
    assert [each.outcome for each in found][-1] == "wrong"
    assert str(found[-1].why).startswith("the server ended")


def test_what_a_step_needs_and_what_it_makes_decide_if_it_is_run(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()
    found = check(
        step("print(1)", needs=tmp_path / "absent"),
        step("print(1)", needs=there),
        step("print(1)", makes=there),
        step(ASKS, server=served(SERVER, package="no_such_package")),
        folder=tmp_path,
    )
    assert [each.outcome for each in found] == ["left out", "passed", "left out", "left out"]
    assert found[3].why == "no_such_package is not installed"


def test_every_serving_step_of_ours_ends_where_it_waits_for_the_device_or_compiles() -> None:
    ours = [server for server in SERVERS if server.name.startswith("this server")]
    assert len(ours) == 2
    for server in ours:
        assert server.environment == {"VLLM_GPU_SYNC_CHECK": "error"}
        assert list(server.options[-2:]) == ["--jit-monitor-mode", "error"]
        assert list(server.command[-2:]) == ["--jit-monitor-mode", "error"]
    asked = [each for each in STEPS if each.server in ours]
    assert {each.server.name for each in asked if each.server} == {server.name for server in ours}


def test_steps_that_decide_come_before_the_measurements_of_their_server() -> None:
    for server in SERVERS:
        decides = [each.decides for each in STEPS if each.server == server]
        assert decides == sorted(decides, reverse=True)


def test_the_options_of_every_step_are_read_by_its_own_parser() -> None:
    named = {each.name: each for each in STEPS}
    for each in STEPS:
        if "pytest" not in each.command:
            assert options.fault_of_step(each) is None, each.name
    wrong = dataclasses.replace(
        named["known answers under load"], command=[*named["known answers under load"].command, "--rat", "8"]
    )
    assert "--rat" in str(options.fault_of_step(wrong))
    wrong = dataclasses.replace(
        named["64 requests at once and alone"], command=steps.module("server.batch_equivalence", "--url", steps.URL)
    )
    assert "--url" in str(options.fault_of_step(wrong))
    with pytest.raises(ValueError, match="no parser is known"):
        options.fault_of_step(step("print(1)"))


def test_a_recorded_result_of_every_step_is_read_and_an_empty_one_is_a_fault() -> None:
    for each in STEPS:
        if each.needs_gpu and each.recorded:
            assert runner.dry_run(each).outcome == "checked", each.name
            nothing = dataclasses.replace(each, recorded="" if isinstance(each.recorded, str) else Path("absent"))
            assert runner.dry_run(nothing).outcome == "wrong", each.name


@pytest.fixture
def report(tmp_path: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((steps.EXAMPLES / "demo.json").read_text())
    return loaded


@pytest.mark.parametrize(
    ("field", "values", "fault"),
    [
        ("all", {"requests": 201, "answered": 200, "errors": {"500": 1}}, "not answered"),
        ("known_answers", {"answered": 163, "right": 150}, "less than 95% of the answers are right"),
        ("verification", {"same": 20}, None),
    ],
)
def test_a_report_with_answers_that_are_missing_or_not_right_is_wrong(
    field: str, values: dict[str, object], fault: str | None, report: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    report[field] |= values
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report))
    reading = results.known_answers(Finished(1, "", file))
    assert (reading.fault or "").startswith(fault or "")
    assert bool(reading.fault) == bool(fault)


def test_a_search_gives_its_bracket_and_is_no_fault_if_no_rate_is_within_the_targets(tmp_path: Path) -> None:
    report = json.loads((steps.EXAMPLES / "highest.json").read_text())
    reading = results.rate_search(Finished(0, "", steps.EXAMPLES / "highest.json"))
    bracket = report["search"]["low"], report["search"]["high"]
    assert (reading.figures["highest_rate"], reading.figures["missed_at"]) == bracket
    assert 0 < bracket[0] < bracket[1]
    report["search"]["low"] = None
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report))
    assert results.rate_search(Finished(0, "", file)).fault is None
    for point in report["search"]["points"]:
        point["answered"] = 0
    file.write_text(json.dumps(report))
    assert str(results.rate_search(Finished(0, "", file)).fault).startswith("nothing was answered")


def test_without_a_gpu_the_check_says_so_runs_what_it_can_and_checks_the_rest(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", cli.__name__, "--dry-run", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    assert "no GPU is used" in run.stdout
    (file,) = tmp_path.glob("*.json")
    outcomes = {each["name"]: each["outcome"] for each in json.loads(file.read_text())["steps"]}
    assert outcomes.pop("kernels as compiled") == outcomes.pop("operators and encoder") == "passed"
    sglang = {name for name in outcomes if name.endswith("SGLang")}
    assert {outcomes.pop(name) for name in sglang} == {"left out"}
    assert {name for name in outcomes if name.startswith("start, ")} == {
        f"start, {name}" for name in ("this server, demo", "this server, 0.5B", "vLLM's own server")
    }
    assert set(outcomes.values()) == {"checked"}
    (page,) = tmp_path.glob("*.md")
    assert page.read_text().startswith("# GPU check, ")
