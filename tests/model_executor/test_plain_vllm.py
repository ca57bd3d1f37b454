"""vLLM's own server serves the model too, given the architecture and the template."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from llava_interleave_serve.benchmarks.server import processes
from tests.support import checkpoints, demo_server, scene_parts
from tests.support.checkpoints import PATCHES

pytestmark = pytest.mark.engine
TEMPLATE = Path(__file__).resolve().parents[2] / "model_executor" / "chat_template.jinja"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    options = ["--hf-overrides", json.dumps({"architectures": ["LlavaInterleaveForConditionalGeneration"]})]
    options += ["--chat-template", str(TEMPLATE), "--dtype", "float32", "--enforce-eager"]
    command = processes.vllm_command(checkpoints.DEMO, *options)
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with demo_server.running(command, tmp_path_factory.mktemp("vllm"), "/health", **environment) as server:
        yield server.client


def ask(client: openai.OpenAI, content: list[dict[str, Any]]) -> openai.types.chat.ChatCompletion:
    model = client.models.list().data[0].id
    messages: Any = [{"role": "user", "content": content}]
    return client.chat.completions.create(model=model, messages=messages, temperature=0.0, max_tokens=24)


def test_plain_vllm_puts_images_between_the_texts_as_the_user_wrote_them(client: openai.OpenAI) -> None:
    answer = ask(
        client,
        [
            scene_parts.image_part(1),
            scene_parts.text_part("and"),
            scene_parts.image_part(2),
            scene_parts.text_part("?"),
        ],
    )
    assert answer.usage is not None
    system, turn, visuals, words, end = 11, 3, 2 * (PATCHES + 1), 2, 5
    assert answer.usage.prompt_tokens in range(
        system + turn + visuals + words + end - 1, system + turn + visuals + words + end + 3
    )
    assert answer.choices[0].message.content


def test_plain_vllm_reads_a_video_url_as_its_frames(client: openai.OpenAI) -> None:
    video, _ = scene_parts.question("motion", 1)
    answer = ask(client, [{"type": "video_url", "video_url": {"url": video[0]["video_url"]["url"]}}, video[1]])
    assert answer.usage is not None
    assert 24 * (PATCHES + 1) <= answer.usage.prompt_tokens <= 32 * (PATCHES + 1) + 40
    assert answer.choices[0].message.content
