"""An engine that does not start is one line, the last; what vLLM said is in a file."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from llava_interleave_serve.benchmarks.server import processes
from llava_interleave_serve.server import start_output
from tests.support.app_server import ROOT

STACK = """\
(EngineCore pid=7) ERROR 11-28 16:06:44 [core.py:1510] EngineCore failed to start.
(EngineCore pid=7) ERROR 11-28 16:06:44 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-28 16:06:44 [core.py:1510] safetensors._safetensors_rust.SafetensorError: incomplete
"""
# `llava-interleave serve` with an engine that has another process write a stack and then fails, or starts.
COMMAND = """
import logging, os, subprocess, sys
from types import SimpleNamespace
from llava_interleave_serve.server import cli, run
from llava_interleave_serve.server.config import ServerConfig
from tests.support.fakes.engine import FakeEngine

os.environ["VLLM_LOGGING_LEVEL"] = "{level}"
logging.getLogger("vllm").setLevel("ERROR")  # as the command does before it imports vLLM

def engine(*args, **options):
    print("progress")
    writer = "import os, sys, time; sys.stderr.write(os.environ['STACK']); time.sleep({seconds}); print('later')"
    child = subprocess.Popen([sys.executable, "-c", writer])
    if {fails}:
        child.wait()
        raise RuntimeError("Engine core initialization failed. See root cause above.")
    return FakeEngine()

run.VllmEngine = engine
cli.parse = lambda argv: ServerConfig(port=int(argv[1]), engine_args=SimpleNamespace(enforce_eager=True))
sys.argv[1:] = ["serve", "--port", "{port}"]
cli.main()
"""


def run(level: str, tmp_path: Path, *, fails: bool = True, seconds: float = 0.0) -> subprocess.Popen[str]:
    code = COMMAND.format(level=level, fails=fails, seconds=seconds, port=processes.free_port())
    environment = {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
        "TMPDIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "STACK": STACK,
    }
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_an_engine_that_does_not_start_is_one_line_that_says_why(tmp_path: Path) -> None:
    process = run("ERROR", tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    serving, last = err.splitlines()
    assert "serving llava-interleave-demo" in serving
    assert "cannot serve llava-interleave-demo: incomplete (SafetensorError)" in last
    path = Path(last.rpartition(" ")[2])
    assert path.parent == tmp_path
    kept = path.read_text()
    assert STACK in kept
    assert "progress" in kept
    assert "RuntimeError: Engine core initialization failed" in kept


def test_at_another_level_of_the_log_vllm_is_read_as_it_writes(tmp_path: Path) -> None:
    process = run("INFO", tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "progress" in out
    assert STACK in err
    assert "cannot serve llava-interleave-demo: Engine core init" in err.splitlines()[-1]
    assert not list(tmp_path.glob("*.log"))


def test_what_an_engine_that_has_started_writes_is_passed_on(tmp_path: Path) -> None:
    process = run("ERROR", tmp_path, fails=False, seconds=1.0)
    assert process.stderr is not None
    lines: list[str] = []
    while "later\n" not in lines:
        lines.append(process.stderr.readline())
        assert lines[-1]
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(STACK.splitlines(keepends=True)) < set(lines)
    assert not list(tmp_path.glob("*.log"))


class Model(BaseModel):
    number: int


def test_the_reason_is_one_line_whatever_the_error_is() -> None:
    with pytest.raises(ValueError, match="number") as invalid:
        Model.model_validate({"number": "x"})
    assert "valid integer" in start_output.reason(invalid.value, "")
    assert start_output.reason(OSError("a\nb"), "") == "a (OSError)"
    assert start_output.reason(RuntimeError(), "") == "RuntimeError() (RuntimeError)"
    assert len(start_output.reason(RuntimeError("x" * 10_000), "")) < 600
    assert start_output.reason(RuntimeError("see above"), STACK) == "incomplete (SafetensorError)"
    loading = STACK.replace("EngineCore failed", 'File "x/model_executor/weight_names.py", line 7')
    assert "config.json: incomplete" in start_output.reason(RuntimeError("see above"), loading)
