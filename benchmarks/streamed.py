"""A request of OpenAI's chat API, and when each of its events came."""

import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from media_files import encoded, picture

Part = dict[str, Any]


@dataclass
class Streamed:
    """An answer as it comes. sent, times: seconds of time.perf_counter; one of each event with text, an own token's."""

    sent: float
    times: list[float] = field(default_factory=list)
    text: str = ""

    @property
    def ttft(self) -> float:
        return self.times[0] - self.sent

    def gaps(self, since: float, until: float) -> list[float]:
        """Seconds between neighbouring tokens, of the gaps that reach into a stretch of time."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [after - before for before, after in pairs if after >= since and before <= until]


def photograph(seed: int) -> str:
    """A JPEG of 640x480 of its own, as a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(encoded(picture(640, 480, seed), "JPEG")).decode()


def images(urls: list[str]) -> list[Part]:
    return [{"type": "image_url", "image_url": {"url": url}} for url in urls]


def text(words: str) -> Part:
    return {"type": "text", "text": words}


async def stream(
    client: httpx.AsyncClient, messages: list[Part], tokens: int, answer: Streamed | None = None
) -> Streamed:
    """Asks for exactly so many tokens, and keeps them in `answer` as they come. Raises httpx.HTTPStatusError."""
    body = {"model": (await client.get("/v1/models")).json()["data"][0]["id"], "messages": messages, "stream": True}
    body |= {"max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    answer = answer or Streamed(0.0)
    answer.sent = time.perf_counter()
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.is_error:
            await response.aread()
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            for choice in json.loads(line.removeprefix("data: "))["choices"]:
                if choice["delta"].get("content") is not None and choice["delta"].get("role") is None:
                    answer.times.append(time.perf_counter())
                    answer.text += choice["delta"]["content"]
    return answer
