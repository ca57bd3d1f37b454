"""The server that all clients ask, and their tasks."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from llava_interleave_serve.demo.scenes import questions
from tests.support import demo_server

RUNNING_SERVER = "LLAVA_INTERLEAVE_CLIENTS_URL"  # a server with the demo checkpoint that is to be asked instead


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server with the demo checkpoint, without a path."""
    if url := os.environ.get(RUNNING_SERVER):
        yield url
        return
    with demo_server.start(tmp_path_factory.mktemp("server")) as server:
        yield server.url


@pytest.fixture
def task(server_url: str, tmp_path: Path) -> dict[str, str]:
    """What a client is to ask: the fields of `scripts/steps.py`'s Task."""
    conversation = questions.single_image(random.Random("clients 0"), 2)
    first, second = conversation.turns
    picture = tmp_path / "picture.png"
    Image.fromarray(conversation.scenes[0].draw(160)).save(picture)
    folder = tmp_path / "client"
    folder.mkdir()
    return {
        "server": server_url,
        "model": httpx.get(f"{server_url}/v1/models").json()["data"][0]["id"],
        "picture": str(picture),
        "question": first.question,
        "answer": first.answer,
        "next_question": second.question,
        "next_answer": second.answer,
        "folder": str(folder),
    }


@pytest.fixture
def task_file(task: dict[str, str], tmp_path: Path) -> Path:
    """The task as a script's command line names it."""
    file = tmp_path / "task.json"
    file.write_text(json.dumps(task))
    return file
