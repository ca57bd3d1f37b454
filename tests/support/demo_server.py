"""A real server in a process of its own, as its user would start it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai

from llava_interleave_serve.benchmarks.server import processes


@dataclass
class RunningServer(processes.Server):
    log: Path

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

    @property
    def async_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=300)

    @property
    def model(self) -> str:
        return self.client.models.list().data[0].id

    @property
    def engine(self) -> int:
        """The process id of its engine."""
        (process_id,) = [pid for pid, command in self.children().items() if "EngineCore" in command]
        return process_id


@contextlib.contextmanager
def running(command: list[str], folder: Path, route: str = "/ready", **environment: str) -> Iterator[RunningServer]:
    """Starts `COMMAND --port PORT` in the folder, waits until the route is 200, and stops it in the end."""
    with processes.running_server(command, route, folder, **environment) as server:
        yield RunningServer(**vars(server), log=folder / processes.LOG)


def start(folder: Path, *options: str) -> contextlib.AbstractContextManager[RunningServer]:
    """The same for `llava-interleave serve OPTIONS`."""
    return running(processes.own_command(*options), folder)
