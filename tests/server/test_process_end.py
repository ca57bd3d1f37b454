"""The server's process and its children end together, whatever ends them, and at any time."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from llava_interleave_serve.benchmarks.server import processes
from llava_interleave_serve.server import run
from tests.support import demo_server

SECONDS = 20.0  # in which every process of the server must have ended
LOADING_SECONDS = 60.0  # in which an engine's process that is being started has read this project's first module


@pytest.fixture
def loading(tmp_path: Path) -> Iterator[psutil.Process]:
    """A server whose engine has been started, and which is not ready yet."""
    command = [*processes.own_command(), "--port", str(processes.free_port())]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    server = psutil.Process(process.pid)
    try:
        _wait_until(lambda: _engines(server), 120, (tmp_path / "log").read_text)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _engines(server: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child for child in server.children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]
    return []


def _wait_until(condition: Callable[[], object], seconds: float, describe: Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, describe()
        time.sleep(0.05)


def _assert_all_end(processes: list[psutil.Process], seconds: float = SECONDS) -> None:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.engine
class TestWhileLoading:
    def test_a_signal_ends_the_server_and_its_engine(self, loading: psutil.Process) -> None:
        children = loading.children(recursive=True)
        loading.send_signal(signal.SIGHUP)
        assert loading.wait(SECONDS) == 128 + signal.SIGHUP
        _assert_all_end(children, LOADING_SECONDS)

    def test_a_signal_to_the_whole_group_does_not_hang(self, loading: psutil.Process) -> None:
        """Ctrl-C in a terminal reaches the engine too, whose death the server would wait out for ever."""
        os.killpg(loading.pid, signal.SIGINT)
        assert loading.wait(SECONDS) == 128 + signal.SIGINT


def test_a_signal_that_nohup_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run._handled_signals() == [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN if number == signal.SIGHUP else None)
    assert run._handled_signals() == [signal.SIGTERM, signal.SIGINT]


@pytest.mark.engine
def test_the_engine_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    with demo_server.start(tmp_path) as server:
        process = psutil.Process(server.process.pid)
        children = process.children(recursive=True)
        assert children
        process.kill()
        server.process.wait(SECONDS)
        _assert_all_end(children)


def test_a_port_in_use_is_one_sentence_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [*processes.own_command(), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith(f"cannot listen on 127.0.0.1, port {port}: Address already in use")


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    with pytest.raises(OSError, match="Cannot assign requested address"):
        run.bind("192.0.2.1", 8000)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1"])
def test_every_address_of_this_machine_can_be_bound(host: str) -> None:
    addresses = Path("/proc/net/if_inet6")  # empty where IPv6 is switched off
    if host == "::1" and not (addresses.exists() and addresses.read_text()):
        pytest.skip("this machine has no IPv6")
    with run.bind(host, 0) as listener:
        assert listener.getsockname()[1] > 0
        assert listener.proto == socket.IPPROTO_TCP
