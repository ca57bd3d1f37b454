"""Sends a chat request and notes when each token of the answer arrives."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from llava_interleave_serve.benchmarks.load.client import server_info
from llava_interleave_serve.benchmarks.load.client.request_format import RequestFormat
from llava_interleave_serve.benchmarks.load.requests.images import Encoded, Noise, Picture
from llava_interleave_serve.benchmarks.load.requests.messages import Message
from llava_interleave_serve.benchmarks.openai_api import sse

TIMEOUT = 3600.0  # seconds for one request


@dataclass
class TokenTimes:
    """Arrival times of an answer's tokens, in seconds of time.perf_counter; more may follow while it is streamed."""

    sent: float = 0.0
    """When the request was sent."""
    times: list[float] = field(default_factory=list)
    """Of each event with text, in which every server here sends one token."""

    @property
    def ttft(self) -> float:
        """Seconds to the first token."""
        return self.times[0] - self.sent

    def gaps(self, since: float, until: float) -> list[float]:
        """Seconds between neighbouring tokens (ITL), of the gaps that overlap with this stretch of time."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [after - before for before, after in pairs if after >= since and before <= until]


def photograph(seed: int) -> Picture:
    """A synthesised JPEG of 640x480, another one for each seed."""
    return Encoded(Noise(seed, 640, 480), "jpeg")


async def stream(
    client: httpx.AsyncClient, messages: Sequence[Message], tokens: int, answer: TokenTimes | None = None
) -> TokenTimes:
    """Requests an answer of exactly `tokens` tokens, in the server's format, and returns their times.

    With `answer`, the times are added to it as they come. Raises httpx.HTTPStatusError for a refusal, and
    sse.StreamError if the stream reports an error or breaks off.
    """
    server = await server_info.fetch(client, None, "auto")
    request_format = RequestFormat(server.model, server.dialect)
    body = {
        "model": server.model,
        "messages": [request_format.message(message) for message in messages],
        "stream": True,
    }
    body |= {"max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    answer = answer or TokenTimes()
    answer.sent = time.perf_counter()
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.is_error:
            await response.aread()
        response.raise_for_status()
        async for event in sse.completion_chunks(response.aiter_bytes()):
            for choice in event.data["choices"]:
                if choice["delta"].get("content") is not None and choice["delta"].get("role") is None:
                    answer.times.append(event.time)
    return answer
