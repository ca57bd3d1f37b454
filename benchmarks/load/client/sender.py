"""Sends requests and notes the time of each chunk of the answers, by the run's clock.

Nothing is parsed before the run is over: on a machine that the server shares, a client that parses while it measures
would measure itself.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from llava_interleave_serve.benchmarks.load.client.body_store import BodyStore
from llava_interleave_serve.benchmarks.openai_api.models import SESSION_HEADER

FIRST_BYTE_OUT = "http11.send_request_headers.started"


class Clock:
    """Seconds since `start` was called last."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def start(self) -> None:
        """Sets the clock to 0."""
        self._start = time.perf_counter()

    def now(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    async def sleep_until(self, due: float) -> None:
        """Returns at `due`, or at once if it has passed."""
        wait = due - self.now()
        if wait > 0:
            await asyncio.sleep(wait)


@dataclass
class RawResponse:
    """Timestamps and bytes of one request, not yet parsed. Times are seconds from the run's start."""

    number: int
    """Number of the request."""
    due: float
    """Time at which the schedule wanted it sent; every latency counts from here."""
    started: float = 0.0
    """Time at which the client began to send it; started - due is the client's own lag."""
    sent: float | None = None
    """Time at which its first byte went out, after any wait for a connection."""
    status: int | None = None
    """HTTP status, if there was a response."""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    """Chunks of the response's body: the time at which each came, and its bytes."""
    ended: float = 0.0
    """Time at which the response ended, however it ended; 0 while it is running."""
    failure: str = ""
    """Why there is no whole response; empty if there is one."""

    @property
    def running(self) -> bool:
        """True until the response has ended."""
        return self.ended == 0.0


def connect(url: str, api_key: str | None, timeout: float) -> httpx.AsyncClient:
    """A client with as many connections as the load needs.

    url: of the server, with or without /v1. timeout: seconds between two bytes; Sender limits a request as a whole.
    """
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    return httpx.AsyncClient(
        base_url=url.rstrip("/").removesuffix("/v1"),
        headers=headers,
        timeout=httpx.Timeout(timeout),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        trust_env=False,
    )


class Sender:
    """Sends the bodies of a store.

    session_ids: by the number of a request, its X-Session-ID, by which routers choose a replica; others have none.

    Attributes:
        clock: of the run.
        responses: of the requests begun so far, in that order.

    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        bodies: BodyStore,
        clock: Clock,
        timeout: float,
        session_ids: Mapping[int, str] | None = None,
    ) -> None:
        self.clock = clock
        self.responses: list[RawResponse] = []
        self._client, self._bodies, self._timeout = client, bodies, timeout
        self._headers = {number: {SESSION_HEADER: name} for number, name in (session_ids or {}).items()}

    async def send(self, number: int, due: float) -> RawResponse:
        """Sends one request and returns when its response has ended, however it ended."""
        response = RawResponse(number, due, started=self.clock.now())
        self.responses.append(response)
        try:
            async with asyncio.timeout(self._timeout):
                await self._receive(response)
        except TimeoutError:
            response.failure = "timeout"
        except httpx.ConnectError:
            response.failure = "no connection"
        except (httpx.TransportError, httpx.StreamError) as error:
            response.failure = f"broken off ({type(error).__name__})"
        except asyncio.CancelledError:
            response.failure = "unfinished when the run ended"
            raise
        finally:
            response.ended = self.clock.now()
        return response

    async def _receive(self, raw: RawResponse) -> None:
        async def trace(event: str, _: Any) -> None:
            if event == FIRST_BYTE_OUT:
                raw.sent = self.clock.now()

        async with self._client.stream(
            "POST",
            "/v1/chat/completions",
            content=self._bodies.read(raw.number),
            headers=self._headers.get(raw.number),
            extensions={"trace": trace},
        ) as response:
            raw.status = response.status_code
            raw.headers = dict(response.headers)
            async for chunk in response.aiter_bytes():
                raw.chunks.append((self.clock.now(), chunk))
