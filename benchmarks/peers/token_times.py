"""A request of OpenAI's chat API that is watched while it is answered: when each of its tokens came."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from llava_interleave_serve.benchmarks.load.client import server_info
from llava_interleave_serve.benchmarks.load.client.request_format import Dialect
from llava_interleave_serve.benchmarks.load.requests.images import Encoded, Noise, Picture
from llava_interleave_serve.benchmarks.load.requests.messages import Message
from llava_interleave_serve.benchmarks.openai_api import sse

TIMEOUT = 3600.0  # seconds for one request


@dataclass
class Streamed:
    """An answer as it comes. sent, times: seconds of time.perf_counter; one of each event with text, an own token's."""

    sent: float = 0.0
    times: list[float] = field(default_factory=list)

    @property
    def ttft(self) -> float:
        return self.times[0] - self.sent

    def gaps(self, since: float, until: float) -> list[float]:
        """Seconds between neighbouring tokens, of the gaps that reach into a stretch of time."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [after - before for before, after in pairs if after >= since and before <= until]


def photograph(seed: int) -> Picture:
    """A JPEG of 640x480 of its own."""
    return Encoded(Noise(seed, 640, 480), "jpeg")


async def stream(
    client: httpx.AsyncClient, messages: Sequence[Message], tokens: int, answer: Streamed | None = None
) -> Streamed:
    """Asks for exactly so many tokens, in the server's dialect, and keeps their times in `answer` as they come.

    Raises httpx.HTTPStatusError, or sse.StreamError for a stream that tells of an error or breaks off.
    """
    facts = await server_info.ask(client, None, "auto")
    dialect = Dialect(facts.model, facts.dialect)
    body = {"model": facts.model, "messages": [dialect.message(one) for one in messages], "stream": True}
    body |= {"max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    answer = answer or Streamed()
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
