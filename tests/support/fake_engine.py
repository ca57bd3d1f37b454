"""An engine that records what it is asked, and answers a fixed text."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from llava_interleave_serve.server.engine import ModelFacts

IMAGE_TOKEN = 497


class FakeEngine:
    """Implements server.engine.Engine for the demo's tokeniser. `fails`: what every chat raises."""

    def __init__(self, *, max_model_len: int = 4096, fails: Exception | None = None) -> None:
        tokenizer = (Path(DEMO_CHECKPOINT) / "tokenizer.json").read_text()
        self.facts = ModelFacts(
            "fake", max_model_len, image_size=112, grid=7, image_token=IMAGE_TOKEN, tokenizer=tokenizer
        )
        self.alive = True
        self.closed = False
        self.fails = fails
        self.events = ['{"choices": [{"delta": {"content": "A"}}]}', '{"choices": [{"delta": {"content": "B"}}]}']
        self.asked: list[tuple[list[int], list[Visual], dict[str, Any]]] = []

    async def chat(
        self, token_ids: list[int], visuals: list[Visual], sampling: dict[str, Any]
    ) -> dict[str, Any] | AsyncGenerator[str, None]:
        self.asked.append((token_ids, visuals, sampling))
        if self.fails is not None:
            raise self.fails
        return self._stream() if sampling.get("stream") else {"choices": [{"message": {"content": "AB"}}]}

    async def _stream(self) -> AsyncGenerator[str, None]:
        for event in self.events:
            yield f"data: {json.dumps(json.loads(event))}\n\n"
        yield "data: [DONE]\n\n"

    async def warm_up(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True
