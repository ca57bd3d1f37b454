"""The authors' checkpoints answer over HTTP with the tokens that the authors' own code generates."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import demo_server
from tests.support.original import questions
from tests.support.original.questions import FOLDER

pytestmark = pytest.mark.engine
OPTIONS = ("--dtype", "float32", "--max-model-len", "2048", "--kv-cache-memory-bytes", str(64 << 20))


@pytest.fixture(scope="module", params=["checkpoint-anyres", "checkpoint-dpo"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The name of a checkpoint, and the URL of its server."""
    folder: Path = tmp_path_factory.mktemp("served")
    with demo_server.start(folder, str(FOLDER / request.param), *OPTIONS) as server:
        yield request.param, server.url


def ask(url: str, request: dict[str, Any]) -> dict[str, Any]:
    response = httpx.post(f"{url}/v1/chat/completions", json=request, timeout=120)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_greedy_tokens_are_the_authors_with_and_without_the_repetition_penalty(served: tuple[str, str]) -> None:
    checkpoint, url = served
    wrong = {}
    for record in questions.records(checkpoint):
        request = questions.request(record)
        penalised = record["greedy_with_repetition_penalty"]["tokens"]
        for expected, fields in ((record["greedy"], {"repetition_penalty": 1.0}), (penalised, {})):
            answer = ask(url, request | fields)
            visual_tokens = sum(visual["tokens"] for visual in record["visuals"])
            if answer["usage"]["prompt_tokens"] != record["sequence_length"]:
                wrong[record["name"]] = f"{answer['usage']['prompt_tokens']} tokens, not {record['sequence_length']}"
            elif answer["media_usage"]["visual_tokens"] != visual_tokens:
                wrong[record["name"]] = f"{answer['media_usage']} tokens, not {visual_tokens}"
            elif answer["choices"][0]["token_ids"] != expected:
                wrong[record["name"]] = f"{answer['choices'][0]['token_ids']}, not {expected}"
    assert not wrong


def test_the_model_says_what_it_samples_with(served: tuple[str, str]) -> None:
    checkpoint, url = served
    (card,) = httpx.get(f"{url}/v1/models").json()["data"]
    penalty = {"checkpoint-anyres": 1.1, "checkpoint-dpo": 1.05}[checkpoint]
    assert card["sampling_defaults"]["output_repetition_penalty"] == penalty
    assert "repetition_penalty" not in card["sampling_defaults"]
    assert card["prompt_style"] == "bench"
