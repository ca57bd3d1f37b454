"""Serves transformers' `generate` over OpenAI's chat API, as a peer of this server.

`python -m llava_interleave_serve.benchmarks.peers.transformers_server CHECKPOINT`

Accepts the requests that `llava-interleave bench` sends in OpenAI's format: text, and images as data URLs. Requests are
answered one at a time, greedily, each with exactly max_tokens tokens, an event a token. The model and the processor are
the hub's, in bfloat16.
"""

import argparse
import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

CHAT_TEMPLATE = Path(__file__).resolve().parents[2] / "model_executor" / "chat_template.jinja"


class TokenQueue:
    """A streamer of transformers (`put`, `end`) that hands each token id to the event loop, and None at the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self.queue = loop, asyncio.Queue[int | None]()
        self._is_prompt = True

    def put(self, value: torch.Tensor) -> None:
        """Takes the prompt's token ids first, which are dropped, and then each new one."""
        if self._is_prompt:
            self._is_prompt = False
            return
        self._loop.call_soon_threadsafe(self.queue.put_nowait, int(value.flatten()[0]))

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self.queue.put_nowait, None)


class TransformersModel:
    """A checkpoint in transformers, which answers one request at a time."""

    def __init__(self, checkpoint: str) -> None:
        self._processor = AutoProcessor.from_pretrained(checkpoint, chat_template=CHAT_TEMPLATE.read_text())
        self._model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
        self._lock = asyncio.Lock()

    def generate(self, messages: list[dict[str, Any]], tokens: int, streamer: TokenQueue) -> int:
        """Generates so many tokens, each given to the streamer, and returns the length of the prompt in tokens."""
        conversation = [
            {"role": message["role"], "content": list(map(_processor_part, _parts(message["content"])))}
            for message in messages
        ]
        with torch.inference_mode():
            inputs = self._processor.apply_chat_template(
                conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
            if "pixel_values" in inputs:
                inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
            lengths = {"max_new_tokens": tokens, "min_new_tokens": tokens}
            self._model.generate(**inputs, **lengths, do_sample=False, streamer=streamer)
        return int(inputs["input_ids"].shape[1])

    async def events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        """Answers a request's body with server-sent events."""
        async with self._lock:
            streamer = TokenQueue(asyncio.get_running_loop())
            work = asyncio.create_task(asyncio.to_thread(self.generate, body["messages"], body["max_tokens"], streamer))
            work.add_done_callback(lambda _: streamer.queue.put_nowait(None))  # also if it fails
            number = 0
            while (token := await streamer.queue.get()) is not None:
                number += 1
                yield _event({"choices": [{"index": 0, "delta": {"content": self._processor.decode([token])}}]})
            prompt = await work
        yield _event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": number}})
        yield "data: [DONE]\n\n"


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _processor_part(part: dict[str, Any]) -> dict[str, Any]:
    """Converts a part of OpenAI's API to one that the processor takes."""
    if part["type"] == "text":
        return part
    data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    return {"type": "image", "image": Image.open(io.BytesIO(data)).convert("RGB")}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps({'object': 'chat.completion.chunk', **content})}\n\n"


def application(model: TransformersModel) -> FastAPI:
    """The application with the routes that the load test uses."""
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "transformers", "object": "model", "owned_by": "transformers"}]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> StreamingResponse:
        return StreamingResponse(model.events(await request.json()), media_type="text/event-stream")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="folder, or name on the hub")
    parser.add_argument("--port", type=int, default=8000, help="on loopback (%(default)s)")
    arguments = parser.parse_args()
    app = application(TransformersModel(arguments.checkpoint))
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
