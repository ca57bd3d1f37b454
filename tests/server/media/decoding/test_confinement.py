"""A process that decodes media reads, writes, connects and starts nothing but what decoding needs."""

import ctypes
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from llava_interleave_serve.server.media.decoding import confinement

# Prints the names of the attempts that the confined process was allowed.
ATTEMPTS = """
import os, signal, socket, subprocess, sys
from pathlib import Path
from llava_interleave_serve.server.media.decoding.confinement import confine

secret, folder, port, parent = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), os.getppid()
attempts = {
    "read a file": secret.read_bytes,
    "read a system file": Path("/etc/passwd").read_bytes,
    "read the server's environment": Path(f"/proc/{parent}/environ").read_bytes,
    "list a folder": lambda: list(folder.iterdir()),
    "write a file": lambda: (folder / "written").write_bytes(b"x"),
    "change a file": lambda: secret.open("r+b").write(b"x"),
    "remove a file": secret.unlink,
    "start a program": lambda: subprocess.run(["/bin/true"], check=True),
    "connect": lambda: socket.create_connection(("127.0.0.1", port)),
    "listen": lambda: socket.create_server(("127.0.0.1", 0)),
    "send a signal": lambda: os.kill(parent, 0),
}
if sys.argv[4] == "confined":
    confine(4 << 30)
for name, attempt in attempts.items():
    try:
        attempt()
    except OSError:
        continue
    print(name)

# What decoding needs still works.
import av, numpy
from PIL import AvifImagePlugin, Image, WebPImagePlugin
from llava_interleave_serve.server.media.decoding import jobs
from llava_interleave_serve.server.media.decoding.memory_file import MemoryFile
file = MemoryFile()
file.write(b"content")
assert Path(f"/proc/self/fd/{file.fd}").read_bytes() == b"content"
"""


def landlock_version() -> int:
    return ctypes.CDLL(None).syscall(confinement.CREATE_RULESET, None, 0, confinement.GET_VERSION)  # type: ignore[no-any-return]


@pytest.fixture
def allowed(tmp_path: Path, request: pytest.FixtureRequest) -> set[str]:
    """The attempts that a process was allowed which is confined, or not, as the test's parameter says."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = [str(secret), str(tmp_path), str(server.getsockname()[1]), request.param]
        run = subprocess.run(
            [sys.executable, "-P", "-c", ATTEMPTS, *arguments], capture_output=True, text=True, check=True, cwd=tmp_path
        )
    return set(run.stdout.splitlines())


@pytest.mark.parametrize("allowed", ["free"], indirect=True)
def test_a_process_that_is_not_confined_is_allowed_all_of_the_attempts(allowed: set[str]) -> None:
    assert len(allowed) == 11


@pytest.mark.skipif(landlock_version() < 6, reason="this kernel's Landlock takes fewer rights")
@pytest.mark.parametrize("allowed", ["confined"], indirect=True)
def test_a_confined_process_is_allowed_none_of_the_attempts(allowed: set[str]) -> None:
    assert allowed == set()


def test_a_kernel_without_landlock_leaves_the_other_bounds(tmp_path: Path) -> None:
    code = (
        "import resource\n"
        "from llava_interleave_serve.server.media.decoding import confinement\n"
        "confinement.CREATE_RULESET = 10_000  # no system call\n"
        "confinement.confine(4 << 30)\n"
        "print(open('/etc/passwd').read()[:4])\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[1] == 4 << 30, resource.getrlimit(resource.RLIMIT_CORE)[1])\n"
        "print([line for line in open('/proc/self/status') if 'NoNewPrivs' in line][0].split()[1])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert run.stdout.splitlines()[1:] == ["True 0", "1"]
