"""Checks the options of the steps by the parsers that will read them, without running a step."""

import contextlib
import importlib
import importlib.util
import io
import subprocess
import sys

from llava_interleave_serve.benchmarks.gpu_check.steps import MODULES, Served, Step
from llava_interleave_serve.benchmarks.load import cli as load_test

A_URL = "http://127.0.0.1:8000"


def fault_of_step(step: Step) -> str | None:
    """What is wrong with the options of a step, in the words of its parser; None if nothing is.

    Raises ValueError for a command of which no parser is known.
    """
    command = [part.format(url=A_URL, report="report.json") for part in step.command]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            if command[1] == "bench":
                load_test.parse(command[2:])
            elif command[1] == "-m" and command[2].startswith(MODULES):
                importlib.import_module(command[2]).parser().parse_args(command[3:])
            else:
                raise ValueError(f"{step.name}: no parser is known of {command}")
    except SystemExit:
        return said.getvalue().strip()
    return None


def fault_of_server(served: Served) -> str | None:
    """What is wrong with the options of a server, in the words of its own parser; None if nothing is."""
    if not is_installed(served):
        return None
    run = subprocess.run(
        [sys.executable, "-c", served.parser, *served.options], capture_output=True, text=True, check=False
    )
    return run.stderr.strip()[-400:] if run.returncode else None


def is_installed(served: Served) -> bool:
    """True if the package of the server is there."""
    return served.package is None or importlib.util.find_spec(served.package) is not None
