"""Sends requests and notes when each piece of the answers comes. Reading them waits until the run is over: on a machine
that the server shares, a client that parses while it measures would measure itself.
"""

import asyncio
from typing import Any

import httpx

from llava_interleave_serve.benchmarks.load.client.body_store import Spool
from llava_interleave_serve.benchmarks.load.client.clock import Clock
from llava_interleave_serve.benchmarks.load.client.exchange import Exchange

FIRST_BYTE_OUT = "http11.send_request_headers.started"


def connect(url: str, api_key: str | None, timeout: float) -> httpx.AsyncClient:
    """A client whose connections are as many as the load needs. timeout: of one request as a whole, kept by Sender."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    return httpx.AsyncClient(
        base_url=url.rstrip("/").removesuffix("/v1"),
        headers=headers,
        timeout=httpx.Timeout(timeout),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        trust_env=False,
    )


class Sender:
    """Sends the bodies of a spool. `exchanges` holds what has been begun, in that order."""

    def __init__(self, client: httpx.AsyncClient, spool: Spool, clock: Clock, timeout: float) -> None:
        self.client, self.spool, self.clock, self.timeout = client, spool, clock, timeout
        self.exchanges: list[Exchange] = []

    async def send(self, number: int, due: float) -> Exchange:
        """Sends one request and returns when its answer has ended, however it ended."""
        exchange = Exchange(number, due, woke=self.clock.now())
        self.exchanges.append(exchange)
        try:
            async with asyncio.timeout(self.timeout):
                await self._exchange(exchange)
        except TimeoutError:
            exchange.failed = "timeout"
        except httpx.ConnectError:
            exchange.failed = "no connection"
        except (httpx.TransportError, httpx.StreamError) as error:
            exchange.failed = f"broken off ({type(error).__name__})"
        except asyncio.CancelledError:
            exchange.failed = "unfinished when the run ended"
            raise
        finally:
            exchange.ended = self.clock.now()
        return exchange

    async def _exchange(self, exchange: Exchange) -> None:
        async def trace(event: str, _: Any) -> None:
            if event == FIRST_BYTE_OUT:
                exchange.sent = self.clock.now()

        async with self.client.stream(
            "POST", "/v1/chat/completions", content=self.spool.body(exchange.number), extensions={"trace": trace}
        ) as response:
            exchange.status = response.status_code
            exchange.headers = dict(response.headers)
            async for piece in response.aiter_bytes():
                exchange.pieces.append((self.clock.now(), piece))
