"""The container's health check asks the server at the address that it was given."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.server import processes
from llava_interleave_serve.server import cli, health_check
from tests.support import app_server, demo_server
from tests.support.app_server import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
# `llava-interleave serve OPTIONS` over a fake engine.
COMMAND = """
import sys
from types import SimpleNamespace
from llava_interleave_serve.server import cli, run
from tests.support.fakes.engine import FakeEngine

run.VllmEngine = lambda *args, **options: FakeEngine()
sys.argv[1:1] = ["serve"]
cli.main()
"""


def check(file: Path | None) -> subprocess.CompletedProcess[str]:
    """Runs the check as the Dockerfile's line does."""
    match = re.search(r'^ +CMD \["python", (.*)\]$', DOCKERFILE, re.MULTILINE)
    assert match is not None
    arguments = [argument.strip(' "') for argument in match[1].split(",")]
    environment = {"PYTHONPATH": str(ROOT / "src"), "http_proxy": "http://127.0.0.1:9"}
    if file is not None:
        environment[health_check.ADDRESS_FILE_VARIABLE] = str(file)
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize("options", [(), ("--host", "0.0.0.0"), ("--host", "localhost")])
def test_a_server_is_healthy_on_whatever_port_and_address(options: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "address"
    command = [sys.executable, "-c", COMMAND, *options]
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", health_check.ADDRESS_FILE_VARIABLE: str(file)}
    with demo_server.running(command, tmp_path, **paths) as server:
        assert file.read_text().strip().rpartition(":")[2] == server.url.rpartition(":")[2]
        done = check(file)
        assert (done.returncode, done.stderr) == (0, "")
    assert not file.exists()
    assert check(file).returncode == 1


def test_without_a_server_or_an_address_the_check_fails_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "address"
    file.write_text(f"http://127.0.0.1:{processes.free_port()}\n")
    for each in (check(file), check(tmp_path / "absent"), check(None)):
        assert each.returncode == 1
        assert len(each.stderr.splitlines()) == 1


def test_a_server_that_does_not_answer_with_a_200_is_not_healthy(tmp_path: Path) -> None:
    file = tmp_path / "address"
    with app_server.in_thread() as server:
        file.write_text(f"{server.url}/absent")
        assert check(file).returncode == 1
        file.write_text(server.url)
        assert check(file).returncode == 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9"),
        ("0.0.0.0", "http://127.0.0.1:9"),
        ("::", "http://[::1]:9"),
        ("::1", "http://[::1]:9"),
        ("192.0.2.7", "http://192.0.2.7:9"),
        ("localhost", "http://localhost:9"),
    ],
)
def test_the_url_is_one_at_which_the_machine_reaches_itself(host: str, url: str) -> None:
    assert health_check.url_of(host, 9) == url


def test_the_address_file_comes_from_the_option_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.parse([]).address_file is None
    monkeypatch.setenv(health_check.ADDRESS_FILE_VARIABLE, str(tmp_path / "a"))
    assert cli.parse([]).address_file == tmp_path / "a"
    assert cli.parse(["--address-file", str(tmp_path / "b")]).address_file == tmp_path / "b"
    with pytest.raises(SystemExit):
        cli.parse(["--address-file", str(tmp_path / "absent" / "c")])
    assert "--address-file" in capsys.readouterr().err.splitlines()[-1]
