"""An engine that records what it is asked, and answers a fixed text."""

import asyncio
import contextlib
import copy
import json
from collections.abc import AsyncGenerator, MutableSequence
from pathlib import Path
from typing import Any

from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from llava_interleave_serve.server.engine.base import ModelFacts, TextPrompt
from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.observability.timing import RequestTiming

IMAGE_TOKEN = 497
FORMATS = ("text", "json_object", "json_schema", "structural_tag")
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-fake",
    "object": "chat.completion",
    "created": 0,
    "model": "fake",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "AB"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


COMPLETION = {
    **ANSWER,
    "object": "text_completion",
    "choices": [{"index": 0, "text": "AB", "finish_reason": "stop", "logprobs": None}],
}


def _event(text: str) -> str:
    """An event of a stream that adds a text to the answer."""
    head = {name: ANSWER[name] for name in ("id", "created", "model")}
    choice = {"index": 0, "delta": {"content": text}}
    return json.dumps({**head, "object": "chat.completion.chunk", "choices": [choice]})


class FakeEngine:
    """Implements server.engine.Engine for the demo's tokeniser. `fails`: what every chat raises.

    `refuses`: what every check of the sampling raises; `stream_fails`: what a stream raises after its events.
    `goes_on`: an answer waits for it; `seconds_between`: events of a stream; `streams_open`: those that have not ended.
    """

    def __init__(self, *, max_model_len: int = 4096, fails: Exception | None = None) -> None:
        tokenizer = (Path(DEMO_CHECKPOINT) / "tokenizer.json").read_text()
        self.facts = ModelFacts(
            "fake", max_model_len, image_size=112, grid=7, image_token=IMAGE_TOKEN, tokenizer=tokenizer
        )
        self.alive = True
        self.closed = False
        self.fails = fails
        self.refuses: Exception | None = None
        self.stream_fails: Exception | None = None
        self.salts: MutableSequence[str] = []
        self.events = [_event("A"), _event("B")]
        self.was_asked = asyncio.Event()
        self.goes_on: asyncio.Event | None = None
        self.seconds_between = 0.0
        self.streams_open = 0
        self.asked: MutableSequence[tuple[list[int], list[Visual], dict[str, Any]]] = []

    async def check_sampling(self, sampling: dict[str, Any]) -> None:
        """Refuses formats without a known type, as vLLM does."""
        if self.refuses is not None:
            raise self.refuses
        if sampling.get("response_format", {"type": "text"}).get("type") not in FORMATS:
            raise RequestError("there is no format of this type", param="response_format")

    async def check_completion(self, sampling: dict[str, Any]) -> None:
        await self.check_sampling(sampling)

    async def complete(
        self, prompts: list[TextPrompt], sampling: dict[str, Any], phases: RequestTiming, cache_salt: str = ""
    ) -> dict[str, Any] | AsyncGenerator[str, None]:
        """Answers what a chat is answered; each of the prompts is one that was asked."""
        answer = await self.chat([], [], sampling, phases, cache_salt)
        self.asked.pop()
        self.asked.extend((prompt.token_ids, [], sampling) for prompt in prompts)
        return copy.deepcopy(COMPLETION) if isinstance(answer, dict) else _as_completion(answer)

    async def chat(
        self,
        token_ids: list[int],
        visuals: list[Visual],
        sampling: dict[str, Any],
        phases: RequestTiming,
        cache_salt: str = "",
    ) -> dict[str, Any] | AsyncGenerator[str, None]:
        self.asked.append((token_ids, visuals, sampling))
        self.salts.append(cache_salt)
        self.was_asked.set()
        if self.goes_on is not None:
            await self.goes_on.wait()
        if self.fails is not None:
            raise self.fails
        phases.replace("prefill", 1.0, 1.25)
        return self._stream() if sampling.get("stream") else copy.deepcopy(ANSWER)

    async def _stream(self) -> AsyncGenerator[str, None]:
        self.streams_open += 1
        try:
            for event in self.events:
                await asyncio.sleep(self.seconds_between)
                yield f"data: {json.dumps(json.loads(event), separators=(',', ':'))}\n\n"
            if self.stream_fails is not None:
                raise self.stream_fails
            yield "data: [DONE]\n\n"
        finally:
            self.streams_open -= 1

    async def load_adapters(self) -> None:
        pass

    async def warm_up(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


async def _as_completion(stream: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The events of a completion; those of a chat become such."""
    async with contextlib.aclosing(stream):
        async for event in stream:
            if '"delta":' not in event:
                yield event
                continue
            chunk = json.loads(event.removeprefix("data: "))
            choices = [{"index": each["index"], "text": each["delta"]["content"]} for each in chunk["choices"]]
            completion = {**chunk, "object": COMPLETION["object"], "choices": choices}
            yield f"data: {json.dumps(completion, separators=(',', ':'))}\n\n"
