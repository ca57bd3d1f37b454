"""The sequences of one API key leave those of another their share of the engine's steps."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support import demo_server, scene_parts
from tests.support.attacked_server import CHAT, chat_body
from tests.support.demo_server import RunningServer

pytestmark = pytest.mark.engine
POLITE, HOSTILE = "polite", "hostile"
CHOICES, TOKENS = 16, 60
QUESTION = (scene_parts.image_part(1), scene_parts.text_part("What is in the image?"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    options = ("--api-key", POLITE, "--api-key", HOSTILE, "--max-model-len", "1024")
    with demo_server.start(tmp_path_factory.mktemp("server"), *options) as server:
        yield server


class Stream(threading.Thread):
    """A streamed request with log probabilities, read in a thread until it ends or `leaves` is set.

    Attributes:
        tokens: the times at which they came.

    """

    def __init__(self, server: RunningServer, key: str, *content: Any, **fields: Any) -> None:
        super().__init__(daemon=True)
        self._url, self._headers = server.url + CHAT, {"Authorization": f"Bearer {key}"}
        self._body = chat_body(*content, stream=True, logprobs=True, ignore_eos=True, **fields)
        self.tokens: list[float] = []
        self.leaves = threading.Event()

    def run(self) -> None:
        with httpx.stream("POST", self._url, json=self._body, headers=self._headers, timeout=120) as response:
            assert response.status_code == 200, response.read()
            for line in response.iter_lines():
                if self.leaves.is_set():
                    return
                if line.startswith("data: {"):
                    for choice in json.loads(line.removeprefix("data: "))["choices"]:
                        entries = (choice.get("logprobs") or {}).get("content") or []
                        self.tokens += [time.monotonic()] * len(entries)


def answer(server: RunningServer) -> str:
    body = chat_body(*QUESTION, temperature=0, max_tokens=20)
    headers = {"Authorization": f"Bearer {POLITE}"}
    (choice,) = httpx.post(server.url + CHAT, json=body, headers=headers, timeout=120).json()["choices"]
    text: str = choice["message"]["content"]
    return text


class TestSharesOfSteps:
    def test_many_choices_of_one_key_take_few_of_the_steps_of_another(self, server: RunningServer) -> None:
        alone = answer(server)
        many = Stream(server, HOSTILE, scene_parts.text_part("x"), n=CHOICES, temperature=1, max_tokens=900)
        many.start()
        while len(many.tokens) < 10 * CHOICES:
            assert many.is_alive()
            time.sleep(0.01)
        few = Stream(server, POLITE, *QUESTION, temperature=0, max_tokens=TOKENS)
        few.start()
        few.join()
        assert answer(server) == alone
        assert many.is_alive()
        many.leaves.set()
        many.join()
        beside = sum(few.tokens[0] < when < few.tokens[-1] for when in many.tokens)
        assert len(few.tokens) == TOKENS
        assert TOKENS < beside < TOKENS * CHOICES / 2
