"""Attempts to learn from cached prompts and pictures what other keys have asked."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support import demo_server, scene_parts
from tests.support.attacked_server import CHAT, chat_body
from tests.support.demo_server import RunningServer

pytestmark = pytest.mark.engine
LONG = "The secret is 12345. " * 12  # a few KV blocks of a CPU, which have 128 tokens


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The server of the bundled demo, with two API keys."""
    options = ("--api-key", "A", "--api-key", "B")
    with demo_server.start(tmp_path_factory.mktemp("server"), *options) as server:
        yield server


def chat(server: RunningServer, key: str, *content: Any) -> httpx.Response:
    body = chat_body(*content, max_tokens=1)
    response = httpx.post(server.url + CHAT, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=120)
    assert response.status_code == 200, response.text
    return response


def cached_tokens(response: httpx.Response) -> int:
    tokens: int = response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    return tokens


class TestCachesOfKeys:
    def test_a_key_is_not_told_what_another_has_asked(self, server: RunningServer) -> None:
        text = scene_parts.text_part(LONG)
        assert cached_tokens(chat(server, "A", text)) == 0
        assert cached_tokens(chat(server, "B", text)) == 0
        assert cached_tokens(chat(server, "A", text)) > 0
        assert cached_tokens(chat(server, "B", text)) > 0

    def test_a_key_is_not_told_which_pictures_another_has_shown(self, server: RunningServer) -> None:
        pictures = [scene_parts.image_part(number) for number in range(40, 48)]
        assert cached_tokens(chat(server, "A", *pictures)) == 0
        assert cached_tokens(chat(server, "B", *pictures)) == 0
        assert cached_tokens(chat(server, "A", *pictures)) > 0

    def test_a_picture_that_another_key_has_shown_is_encoded_again(self, server: RunningServer) -> None:
        """Each prompt begins otherwise, so that the picture's encoder output alone can be reused."""
        encoded = []
        for number, key in enumerate("AAB"):
            text = scene_parts.text_part(f"{number} is the number of this question.")
            response = chat(server, key, text, scene_parts.image_part(50))
            assert cached_tokens(response) == 0
            encoded.append("encode;" in response.headers["server-timing"])
        assert encoded == [True, False, True]
