"""A server that a benchmark starts is ended with all that it started."""

import sys
from pathlib import Path

import psutil
import pytest

from llava_interleave_serve.benchmarks.server import processes

SERVER = """
import http.server, pathlib, subprocess, sys
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
pathlib.Path("child").write_text(str(child.pid))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_a_process_that_a_server_leaves_behind_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    with processes.running_server([sys.executable, "-c", SERVER], "/child", tmp_path) as server:
        child = psutil.Process(int((tmp_path / "child").read_text()))
        assert child.is_running()
    psutil.wait_procs([child], 60)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert server.process.returncode is not None
