"""transformers' `generate` behind OpenAI's chat API, as a peer.

`python -m llava_interleave_serve.benchmarks.peers.transformers_server CHECKPOINT`

Takes what `llava-interleave bench` sends in OpenAI's dialect: text and images as data URLs; one request at a time, each
to exactly max_tokens, greedily, an event a token. The model and the processor are the hub's, in bfloat16.
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
from transformers.generation.streamers import BaseStreamer

TEMPLATE = Path(__file__).resolve().parents[2] / "model_executor" / "chat_template.jinja"


class Tokens(BaseStreamer):
    """Hands over what is generated to the event loop, a token at a time; None at the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self.queue = loop, asyncio.Queue[int | None]()
        self._is_prompt = True

    def put(self, value: torch.Tensor) -> None:
        if self._is_prompt:
            self._is_prompt = False
            return
        self._loop.call_soon_threadsafe(self.queue.put_nowait, int(value.flatten()[0]))

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self.queue.put_nowait, None)


class Peer:
    """The checkpoint in transformers."""

    def __init__(self, checkpoint: str) -> None:
        self.processor = AutoProcessor.from_pretrained(checkpoint, chat_template=TEMPLATE.read_text())
        self._model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
        self._turn = asyncio.Lock()

    def inputs(self, messages: list[dict[str, Any]]) -> Any:
        asked = [{"role": one["role"], "content": list(map(_part, _parts(one["content"])))} for one in messages]
        return self.processor.apply_chat_template(
            asked, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )

    @torch.inference_mode()
    def generate(self, messages: list[dict[str, Any]], tokens: int, streamer: Tokens) -> int:
        """The prompt's length, after so many tokens have gone to the streamer."""
        inputs = self.inputs(messages)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
        lengths = {"max_new_tokens": tokens, "min_new_tokens": tokens}
        self._model.generate(**inputs, **lengths, do_sample=False, streamer=streamer)
        return int(inputs["input_ids"].shape[1])

    async def events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        async with self._turn:
            streamer = Tokens(asyncio.get_running_loop())
            work = asyncio.create_task(asyncio.to_thread(self.generate, body["messages"], body["max_tokens"], streamer))
            work.add_done_callback(lambda _: streamer.queue.put_nowait(None))  # also where it fails
            number = 0
            while (token := await streamer.queue.get()) is not None:
                number += 1
                yield _event({"choices": [{"index": 0, "delta": {"content": self.processor.decode([token])}}]})
            prompt = await work
        yield _event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": number}})
        yield "data: [DONE]\n\n"


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return part
    data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    return {"type": "image", "image": Image.open(io.BytesIO(data)).convert("RGB")}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps({'object': 'chat.completion.chunk', **content})}\n\n"


def application(peer: Peer) -> FastAPI:
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "transformers", "object": "model", "owned_by": "transformers"}]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> StreamingResponse:
        return StreamingResponse(peer.events(await request.json()), media_type="text/event-stream")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    uvicorn.run(application(Peer(arguments.checkpoint)), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
