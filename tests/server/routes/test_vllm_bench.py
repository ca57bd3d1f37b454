"""The requests of `vllm bench serve` with its defaults, made by vLLM's own code, are answered."""

import asyncio
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from vllm.benchmarks import serve
from vllm.benchmarks.lib import endpoint_request_func

from tests.support import app_server
from tests.support.app_server import ServedApp
from tests.support.fakes.engine import FakeEngine


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name == "OPENAI_API_KEY"]:
        monkeypatch.delenv(name)


@pytest.fixture
def app() -> Iterator[ServedApp]:
    engine = FakeEngine()
    engine.events = [
        '{"choices": [{"index": 0, "text": "A", "finish_reason": null}]}',
        '{"choices": [{"index": 0, "text": "B", "finish_reason": "length"}]}',
        '{"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 2}}',
    ]
    with app_server.in_thread(engine) as app:
        yield app


def test_the_model_is_learned_from_the_server(app: ServedApp) -> None:
    assert asyncio.run(serve.get_first_model_from_server(app.url)) == ("fake", "fake")


def test_prompts_are_aligned_with_the_servers_tokeniser(app: ServedApp) -> None:
    """Prompts of more tokens here than expected are cut to as many as were expected."""
    client = app.client()
    words = "Which image is red?"
    ids = client.post("/tokenize", json={"prompt": words}).json()["tokens"]
    request: Any = serve.SampleRequest(prompt=words, prompt_len=len(ids) - 1, expected_output_len=2)
    (aligned,) = asyncio.run(serve._align_prompts_to_server_tokenizer(app.url, "fake", [request]))
    assert aligned.prompt == client.post("/detokenize", json={"tokens": ids[:-1]}).json()["prompt"]


def test_a_completion_is_streamed_and_counted(app: ServedApp) -> None:
    asked = endpoint_request_func.RequestFuncInput(
        prompt="Which image", api_url=f"{app.url}/v1/completions", prompt_len=2, output_len=2, model="fake",
        model_name="fake", ignore_eos=True,
    )  # fmt: skip

    async def request() -> Any:
        async with aiohttp.ClientSession() as session:
            return await endpoint_request_func.async_request_openai_completions(asked, session)

    output: SimpleNamespace = asyncio.run(request())
    assert output.success, output.error
    assert (output.generated_text, output.output_tokens) == ("AB", 2)
    assert app.engine.asked[0][2]["ignore_eos"] is True
