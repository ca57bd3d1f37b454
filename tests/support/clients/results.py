"""What came of a client's run: its versions, and the end of each step."""

import datetime
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.support.clients import environments
from tests.support.clients.registry import Client

FOLDER = environments.FOLDER / "results"
LONGEST = 900.0  # seconds that a client's run may take


@dataclass
class Result:
    """A client's run.

    Attributes:
        title: the client's.
        versions: by package.
        steps: the error of each step, by the step's title; None for a step that is in order.
        date: of the run, in ISO's form.
    """

    title: str
    versions: dict[str, str] = field(default_factory=dict)
    steps: dict[str, str | None] = field(default_factory=dict)
    date: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).date().isoformat())

    @property
    def failures(self) -> dict[str, str]:
        return {title: error for title, error in self.steps.items() if error is not None}

    def store(self) -> None:
        """Writes the result where the table is made from."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"{self.title}.json").write_text(json.dumps(asdict(self), indent=1))


def load(client: Client) -> Result | None:
    """The stored result of the client's last run; None without one."""
    file = FOLDER / f"{client.title}.json"
    return Result(**json.loads(file.read_text())) if file.exists() else None


def environment_of_clients(**variables: str) -> Mapping[str, str]:
    """This process's environment without what would lead a client to this project's packages, or to other servers."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "OPENAI_", "VIRTUAL_ENV", "COV_"))
    }
    return inherited | {"PYTHONUNBUFFERED": "1"} | variables


def run_script(client: Client, command: list[str], folder: Path) -> Result:
    """Runs a client's script, and stores and returns what came of it.

    Raises AssertionError with what the script printed last if it does not end well.
    """
    with (folder / "stderr").open("wb") as errors:
        run = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=errors, env=environment_of_clients(), timeout=LONGEST, check=False
        )
    result = Result(client.title)
    for line in run.stdout.decode().splitlines():
        if line.startswith('{"versions": '):
            result.versions = json.loads(line)["versions"]
        elif line.startswith('{"step": '):
            record = json.loads(line)
            result.steps[record["step"]] = record["error"]
    result.store()
    assert run.returncode == 0, (folder / "stderr").read_text()[-4000:]
    return result
