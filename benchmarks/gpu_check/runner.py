"""Runs the steps within their time, each in a process of its own, and the servers that they ask."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from llava_interleave_serve.benchmarks.gpu_check import options
from llava_interleave_serve.benchmarks.gpu_check.results import Finished, Result
from llava_interleave_serve.benchmarks.gpu_check.steps import Served, Step
from llava_interleave_serve.benchmarks.server import processes

SECONDS = 30 * 60


def failure(decides: bool) -> str:
    """The outcome of a fault."""
    return "wrong" if decides else "failed"


def file_name(name: str) -> str:
    """The name of a step or a server in the names of its files."""
    return name.replace(" ", "-").replace(",", "")


def run(step: Step, seconds: float, folder: Path, url: str = "") -> Result:
    """Runs a step for so many seconds at most. Its output goes to this process's and its report to the folder."""
    report = folder / f"{file_name(step.name)}.json"
    report.unlink(missing_ok=True)
    start = time.monotonic()
    process = subprocess.Popen(
        [part.format(url=url, report=report) for part in step.command],
        env=os.environ | step.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)  # what the step has started, too
        process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        return Result(step.name, "ended", seconds, why=f"after {seconds:.0f} s")
    print(output, errors, sep="\n", flush=True)
    found, fault = step.read(Finished(process.returncode, output, report))
    outcome = failure(step.decides) if fault else "passed"
    return Result(step.name, outcome, time.monotonic() - start, found, fault)


def dry_run(step: Step) -> Result:
    """Checks a step's options, and reads what such a step has once written."""
    start = time.monotonic()
    recorded = step.recorded
    report, output = (recorded, "") if isinstance(recorded, Path) else (Path("absent"), recorded)
    fault = options.fault_of_step(step) or step.read(Finished(0, output, report)).fault
    why = fault or "needs a GPU; its options are right, and a recorded result is read"
    return Result(step.name, "wrong" if fault else "checked", time.monotonic() - start, why=why)


class Servers:
    """The servers of the steps, one at a time.

    Attributes:
        results: of the starts.

    """

    def __init__(self, folder: Path, add: Callable[[Result], None]) -> None:
        self._folder, self._add = folder, add
        self._served: Served | None = None
        self._server: processes.Server | None = None
        self._stack = contextlib.ExitStack()

    def get(self, served: Served, end: float) -> processes.Server | None:
        """The server, started if it was not the last one; None if it did not start, now or before.

        end: of the whole check, in seconds of time.monotonic.
        """
        if self._served == served:
            return self._server
        self.stop()
        self._served, start = served, time.monotonic()
        name = f"start, {served.name}"
        log = self._folder / file_name(served.name)
        log.mkdir(parents=True, exist_ok=True)
        seconds = min(served.seconds, end - start)
        try:
            running = processes.running_at(
                processes.free_port(), list(served.command), served.route, log, served.environment, seconds
            )
            self._server = self._stack.enter_context(running)
        except RuntimeError as error:
            is_cut = end - start < served.seconds and time.monotonic() >= end  # by the end of the whole check
            outcome = "ended" if is_cut else failure(served.decides)
            self._add(Result(name, outcome, time.monotonic() - start, why=str(error)[-300:]))
            return None
        ready = round(self._server.seconds_to_ready, 1)
        self._add(Result(name, "passed", time.monotonic() - start, {"seconds_to_ready": ready}))
        return self._server

    def has_ended(self) -> bool:
        """True if the process of the server that runs has ended by itself."""
        return self._server is not None and self._server.process.poll() is not None

    def stop(self) -> None:
        """Stops the server that runs."""
        self._stack.close()
        self._served = self._server = None


def check(steps: Sequence[Step], folder: Path, *, has_gpu: bool, seconds: float = SECONDS) -> list[Result]:
    """Runs the steps within so many seconds; without a GPU those that need none, and the options of the others."""
    end = time.monotonic() + seconds
    results: list[Result] = []

    def add(result: Result) -> None:
        results.append(result)
        print(f"{result.outcome}: {result.name}", flush=True)

    servers = Servers(folder, add)
    checked: list[Served] = []
    try:
        for step in steps:
            served = step.server
            if served is not None and not options.is_installed(served):
                add(Result(step.name, "left out", why=f"{served.package} is not installed"))
            elif has_gpu or not step.needs_gpu:
                add(_run_with_server(step, servers, folder, end))
            else:
                if served is not None and served not in checked:
                    checked.append(served)
                    fault = options.fault_of_server(served)
                    outcome = "wrong" if fault else "checked"
                    add(Result(f"start, {served.name}", outcome, why=fault or "needs a GPU; its options are right"))
                add(dry_run(step))
    finally:
        servers.stop()
    return results


def _run_with_server(step: Step, servers: Servers, folder: Path, end: float) -> Result:
    """Runs a step with its server started, or says why not."""
    if time.monotonic() >= end or step.seconds <= 0:
        return Result(step.name, "left out", why="no time is left")
    if step.makes is not None and step.makes.exists():
        return Result(step.name, "left out", why=f"{step.makes} is there already")
    if step.needs is not None and not step.needs.exists():
        return Result(step.name, "left out", why=f"{step.needs} is not there")
    if step.server is None:
        servers.stop()  # which would hold the GPU's memory
        return run(step, min(step.seconds, end - time.monotonic()), folder)
    server = servers.get(step.server, end)
    left = min(step.seconds, end - time.monotonic())
    if server is None or left <= 0:
        return Result(step.name, "left out", why="its server did not start" if server is None else "no time is left")
    result = run(step, left, folder, server.url)
    if servers.has_ended():
        why = f"the server ended; {result.why or ''}"
        return Result(step.name, failure(step.server.decides), result.seconds, result.found, why)
    return result
