"""Environments of the clients, made from their locks under `build/clients`: never this project's own `.venv`.

An environment is made once, and again when its lock has changed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.clients.registry import NODE, REQUIREMENTS, Client

FOLDER = Path(__file__).resolve().parents[3] / "build" / "clients"
LOCK = "installed.lock"  # the copy of the lock that an environment has been made from


def python(name: str) -> Path:
    """The interpreter of the environment with the packages of `requirements/NAME.txt`, and no others."""
    lock = REQUIREMENTS / f"{name}.txt"
    folder = FOLDER / name
    interpreter = folder / "bin" / "python"
    if not _is_made(folder, lock):
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder))
        install = (str(interpreter), "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps")
        # torch for CPUs is on PyTorch's own index, and takes a tenth of the space.
        for torch in [line for line in lock.read_text().split() if line.startswith("torch==")]:
            index = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
            _run(*install, "--index-url", index, "--timeout", "10", "--retries", "1", torch)
        # The lock lists every dependency that is needed, and leaves out those that are large and are not.
        _run(*install, "-r", str(lock))
        shutil.copy(lock, folder / LOCK)
    return interpreter


def node() -> Path:
    """The folder with the packages of `node/package-lock.json`, and the scripts beside them, where they find these."""
    lock = NODE / "package-lock.json"
    folder = FOLDER / "node"
    if not _is_made(folder, lock):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NODE / name, folder)
        _run("npm", "ci", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts")
        shutil.copy(lock, folder / LOCK)
    for script in NODE.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


def version(client: Client, interpreter: str) -> str:
    """The version of the client's package, or of one for CPUs, in the environment of an interpreter."""
    name = client.packages[0]
    code = f"""
import importlib.metadata as metadata
print(next(each.version for each in metadata.distributions() if each.name in ({name!r}, {name + "-cpu"!r})))"""
    return subprocess.run([interpreter, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _is_made(folder: Path, lock: Path) -> bool:
    made = folder / LOCK
    return made.exists() and made.read_bytes() == lock.read_bytes()


def _run(*command: str) -> None:
    """Runs a command. Raises RuntimeError with the end of what it printed if it fails."""
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{command}: {run.stdout[-4000:]}")
