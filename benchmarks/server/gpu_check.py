"""Checks this machine's GPU and measures it: what `make gpu-check` runs, at most 30 minutes.

`python -m llava_interleave_serve.benchmarks.server.gpu_check [--out FOLDER] [--dry-run]`

Runs one command after the other, each in a process of its own, and writes a dated table and a JSON with the last line
of each. The exit code is 1 if a result was wrong, and never because one was slow: measurements that fail or find no
time are named in the table. With --dry-run, for a machine without a GPU, runs the commands that need none and names the
others.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 30 * 60
MODULES = "llava_interleave_serve.benchmarks"
# The load test against the demo's server, whose engine ends where a kernel is compiled while requests wait.
BENCH = f"""
import sys
from {MODULES}.load.cli import main
from {MODULES}.server import processes
with processes.running_server(processes.own_command("--jit-monitor-mode", "error")) as server:
    code = main([*sys.argv[1:], "--url", server.url])
sys.exit(code)
"""


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: in the table.
        arguments: of this Python.
        decides: True if a failure is a wrong result.
        needs_gpu: True if it is left out of a dry run.
        seconds: after which it is ended.
        environment: variables that it has besides.

    """

    name: str
    arguments: Sequence[str]
    decides: bool
    needs_gpu: bool = True
    seconds: int = 300
    environment: dict[str, str] = field(default_factory=dict)


# A copy that a step waits for ends the engine.
STRICT = {"VLLM_GPU_SYNC_CHECK": "error"}
STEPS = (
    Step("kernels as compiled", ("-m", f"{MODULES}.kernels.compiled_resources"), decides=True, needs_gpu=False),
    Step("operators and encoder", ("-m", "pytest", "-q", "-m", "gpu", "tests"), True,
         environment={"TRITON_INTERPRET": "0"}),
    Step("kernels, us and share of copy bandwidth", ("-m", f"{MODULES}.kernels.speed"), decides=True),
    Step("64 requests at once and alone", ("-m", f"{MODULES}.server.batch_equivalence"), False, environment=STRICT),
    Step("known answers under load", ("-c", BENCH, "demo", "--rate", "8", "--duration", "30", "--verify"), True,
         environment=STRICT),
    Step("highest rate within the objectives", ("-c", BENCH, "demo", "--search", "--duration", "20"), False,
         seconds=600),
    Step("first token beside vLLM's server", ("-m", f"{MODULES}.peers.first_token", "--rounds", "1"), False),
    Step("start-up beside vLLM's server", ("-m", f"{MODULES}.server.startup", "--rounds", "1"), False, seconds=600),
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What became of a step.

    Attributes:
        name: of the step.
        outcome: "passed", "failed", "wrong", "ended" (its time was over) or "left out".
        seconds: that it took.
        last: the last line of its output, read as JSON if it is some.

    """

    name: str
    outcome: str
    seconds: float = 0.0
    last: Any = None


def run(step: Step, seconds: float) -> Result:
    """Runs a step for so many seconds at most."""
    start = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, *step.arguments],
            env=os.environ | step.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result(step.name, "ended", seconds)
    print(done.stdout, done.stderr, sep="\n", flush=True)
    line = (done.stdout.strip().splitlines() or [""])[-1]
    try:
        last = json.loads(line)
    except ValueError:
        last = line
    failure = "wrong" if step.decides else "failed"
    return Result(step.name, failure if done.returncode else "passed", time.monotonic() - start, last)


def check(steps: Sequence[Step], *, has_gpu: bool, seconds: float = SECONDS) -> list[Result]:
    """Runs the steps within so many seconds; without a GPU those that need none."""
    end = time.monotonic() + seconds
    results = []
    for step in steps:
        left = min(step.seconds, end - time.monotonic())
        is_possible = has_gpu or not step.needs_gpu
        results.append(run(step, left) if is_possible and left > 0 else Result(step.name, "left out"))
        print(f"{results[-1].outcome}: {step.name}", flush=True)
    return results


def table(results: Sequence[Result], title: str) -> str:
    """The results as a Markdown table."""
    lines = [f"# {title}", "", "| step | outcome | seconds | last line |", "|---|---|---|---|"]
    for each in results:
        text = (each.last if isinstance(each.last, str) else json.dumps(each.last)) if each.last else ""
        lines.append(f"| {each.name} | {each.outcome} | {each.seconds:.0f} | {text[:300].replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def device() -> str | None:
    """The name of the first GPU; None if torch finds none."""
    import torch  # noqa: PLC0415 - seconds of imports

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder of table and JSON (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="run what needs no GPU")
    arguments = parser.parse_args()
    name = None if arguments.dry_run else device()
    if name is None and not arguments.dry_run:
        sys.exit("gpu_check: no GPU is found here; --dry-run runs what needs none")
    if name is None:
        print("no GPU is used: what needs one is left out", flush=True)
    now = datetime.datetime.now(datetime.UTC)
    results = check(STEPS, has_gpu=name is not None)
    title = f"GPU check, {now:%Y-%m-%d}, {name or 'without a GPU'}"
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"{now:%Y-%m-%d-%H%M}"
    stem.with_suffix(".md").write_text(table(results, title))
    stem.with_suffix(".json").write_text(json.dumps({"title": title, "steps": [vars(each) for each in results]}))
    print(table(results, title))
    sys.exit(1 if any(each.outcome == "wrong" for each in results) else 0)


if __name__ == "__main__":
    main()
