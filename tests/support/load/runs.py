"""Requests sent to a fake server by the load test's own client."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence

from llava_interleave_serve.benchmarks.load.client import load_loop
from llava_interleave_serve.benchmarks.load.client.body_store import BodyStore
from llava_interleave_serve.benchmarks.load.client.sender import Clock, Sender, connect
from llava_interleave_serve.benchmarks.load.results import request_metrics
from llava_interleave_serve.benchmarks.load.results.request_metrics import RequestMetrics
from tests.support.fakes.chat_server import FakeChatServer
from tests.support.load.exchanges import ask


async def send(
    server: FakeChatServer,
    due: Sequence[float],
    *,
    concurrency: int = 0,
    timeout: float = 30.0,
    drain: float = 30.0,
    meanwhile: Callable[[Clock], Awaitable[None]] | None = None,
) -> list[RequestMetrics]:
    """Sends a request at each of these times; with a concurrency, in a closed loop instead, as many in all."""
    requests = [dataclasses.replace(ask(number), due=time) for number, time in enumerate(due)]
    with BodyStore() as bodies:
        for request in requests:
            bodies.add(request.number, b'{"messages": [], "number": %d}' % request.number)
        bodies.flush()
        async with connect(server.url, None, timeout) as client:
            sender = Sender(client, bodies, Clock(), timeout)
            beside = asyncio.ensure_future(meanwhile(sender.clock)) if meanwhile else None
            if concurrency:
                await load_loop.closed_loop(requests, sender, concurrency, None, drain)
            else:
                await load_loop.open_loop(requests, sender, drain)
            if beside is not None:
                await beside
    return [request_metrics.compute(requests[response.number], response) for response in sender.responses]
