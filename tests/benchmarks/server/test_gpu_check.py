"""`make gpu-check` runs its steps within its time, and fails on a wrong result only."""

import json
import subprocess
import sys
from pathlib import Path

from llava_interleave_serve.benchmarks.server import gpu_check
from llava_interleave_serve.benchmarks.server.gpu_check import Step, check, table

GOOD = ("-c", "print('text'); print('{\"us\": 3}')")
BAD = ("-c", "raise SystemExit('broken')")
SLOW = ("-c", "import time; time.sleep(600)")


def test_the_last_line_of_a_step_is_kept_and_its_environment_set() -> None:
    show = ("-c", "import os; print(os.environ['WANTED'])")
    steps = [Step("good", GOOD, decides=True), Step("shown", show, decides=True, environment={"WANTED": "yes"})]
    results = check(steps, has_gpu=True)
    assert [(each.outcome, each.last) for each in results] == [("passed", {"us": 3}), ("passed", "yes")]
    assert '| good | passed | 0 | {"us": 3} |' in table(results, "title")


def test_a_failure_is_wrong_where_the_step_decides_and_only_named_where_it_does_not() -> None:
    results = check([Step("a", BAD, decides=True), Step("b", BAD, decides=False)], has_gpu=True)
    assert [each.outcome for each in results] == ["wrong", "failed"]


def test_a_step_that_takes_too_long_is_ended_and_what_finds_no_time_is_left_out() -> None:
    ended = check([Step("slow", SLOW, decides=True, seconds=0)], has_gpu=True)
    late = check([Step("late", GOOD, decides=True)], has_gpu=True, seconds=0)
    assert [each.outcome for each in ended + late] == ["left out", "left out"]
    assert gpu_check.run(Step("slow", SLOW, decides=True), 0.1).outcome == "ended"


def test_without_a_gpu_the_check_says_so_and_runs_what_it_can(tmp_path: Path) -> None:
    command = [sys.executable, "-m", gpu_check.__name__, "--dry-run", "--out", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "no GPU is used: what needs one is left out" in run.stdout
    (report,) = tmp_path.glob("*.json")
    outcomes = {step["name"]: step["outcome"] for step in json.loads(report.read_text())["steps"]}
    assert outcomes.pop("kernels as compiled") == "passed"
    assert set(outcomes.values()) == {"left out"}
    (page,) = tmp_path.glob("*.md")
    assert page.read_text().startswith("# GPU check, ")


def test_the_steps_fit_their_modules() -> None:
    for step in gpu_check.STEPS:
        if step.arguments[0] == "-m" and step.arguments[1] != "pytest":
            parts = step.arguments[1].removeprefix("llava_interleave_serve.").split(".")
            assert Path(*parts).with_suffix(".py").is_file(), step
