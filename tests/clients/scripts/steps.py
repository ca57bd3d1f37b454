"""Steps of a client's run: each does one thing that the client's users do, and its end is printed as a line of JSON.

A script of this folder runs as `python SCRIPT TASK` in its client's own environment, so that this module imports the
standard library only.
"""

import asyncio
import base64
import importlib.metadata
import inspect
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

COLOURS = Literal["red", "green", "blue", "yellow", "purple", "black"]
SHAPES = Literal["circle", "square", "triangle", "star"]

_functions: dict[str, Callable[[], Any]] = {}


class Task:
    """What the client is to ask, from the file that the command line names.

    Attributes:
        server: the server's URL without a path.
        url: the base URL of the API, which ends in `/v1`.
        model: the name of the model.
        file: the picture's PNG file.
        picture: the same as a data URL.
        question: a question about the picture, and `answer` the right answer to it.
        next_question: a question to ask after that, and `next_answer` the right answer to it.
        folder: an empty folder for what the client writes.
    """

    def __init__(self, file: str) -> None:
        fields = json.loads(Path(file).read_text())
        self.server: str = fields["server"]
        self.url = f"{self.server}/v1"
        self.model: str = fields["model"]
        self.file = Path(fields["picture"])
        self.picture = f"data:image/png;base64,{base64.b64encode(self.file.read_bytes()).decode()}"
        self.question: str = fields["question"]
        self.answer: str = fields["answer"]
        self.next_question: str = fields["next_question"]
        self.next_answer: str = fields["next_answer"]
        self.folder = Path(fields["folder"])

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The picture and the question as parts of OpenAI's message."""
        return [
            {"type": "image_url", "image_url": {"url": self.picture}},
            {"type": "text", "text": self.question},
        ]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The same as the only message of a conversation."""
        return [{"role": "user", "content": self.parts}]


def task() -> Task:
    """Reads the task that the command line names."""
    return Task(sys.argv[1])


def step(title: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Makes the function, or the coroutine function, the step of a title. The step is in order unless it raises."""

    def register(function: Callable[[], Any]) -> Callable[[], Any]:
        _functions[title] = function
        return function

    return register


def equal(got: Any, expected: Any) -> None:
    """Raises AssertionError, which says both, unless the values are equal."""
    if got != expected:
        raise AssertionError(f"{got!r}, and not {expected!r}")


def run(*distributions: str) -> None:
    """Runs all steps in their order and prints the distributions' versions, and the end of each step."""
    versions = {name: importlib.metadata.version(name) for name in distributions}
    print(json.dumps({"versions": versions}), flush=True)
    with asyncio.Runner() as runner:
        for title, function in _functions.items():
            error = None
            try:
                result = function()
                if inspect.isawaitable(result):
                    runner.run(_awaited(result))
            except Exception as fault:  # noqa: BLE001 - whatever a client raises is the step's result
                traceback.print_exc()
                error = f"{type(fault).__name__}: {fault}"
            print(json.dumps({"step": title, "error": error}), flush=True)


async def _awaited(result: Any) -> Any:
    return await result
