"""What clients see of servers behind a router: requests at once, clients that leave, large bodies, a change."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from llava_interleave_serve.benchmarks.fleet import questions
from llava_interleave_serve.benchmarks.fleet.crowd import CHAT, Crowd
from llava_interleave_serve.benchmarks.openai_api.models import SESSION_HEADER

CLIENTS, ANSWERS = 20, 2  # clients of a crowd, and answers of each before and after what happens
PLACES, AT_ONCE = 3, 12  # requests that a server takes, and that are sent
LEAVERS = 5  # clients that leave, one after the other
LONG = 2000  # tokens of an answer that nobody waits for
PATIENCE = 60.0  # seconds for a server to notice
MEBIBYTE = 1 << 20
SIZES = (1, 20, 60, 64, 66)  # MiB; servers take 64
JSON = {"Content-Type": "application/json"}
# Series of a server that has a request, and whose engine runs one.
INSIDE = ('lis_inflight{of="requests"}', "vllm:num_requests_running{")


def client_of(url: str) -> httpx.AsyncClient:
    """A client with as many connections as it has requests."""
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, timeout=120, trust_env=False, limits=limits)


async def at_once(url: str) -> dict[str, Any]:
    """Sends 12 requests of one session at once. Counts the answers, and the refusals without `Retry-After`."""
    async with client_of(url) as client:
        body = questions.long_answer(0, 300)
        requests = [client.post(CHAT, json=body, headers={SESSION_HEADER: "one"}) for _ in range(AT_ONCE)]
        responses = await asyncio.gather(*requests)
    refused = [response for response in responses if response.status_code != httpx.codes.OK]
    return {
        "statuses": dict(Counter(str(response.status_code) for response in responses)),
        "refused_without_retry_after": sum("Retry-After" not in response.headers for response in refused),
    }


async def disconnects(url: str) -> dict[str, Any]:
    """Seconds from when a client leaves until its server has no request, and its engine runs none; the most of 5."""
    return {
        "streams": max([await _left(url, streamed=True) for _ in range(LEAVERS)]),
        "answers": max([await _left(url, streamed=False) for _ in range(LEAVERS)]),
    }


async def _left(url: str, *, streamed: bool) -> float:
    headers = {SESSION_HEADER: "leaver"}
    async with client_of(url) as watcher, client_of(url) as client:
        body = questions.long_answer(0, LONG, stream=streamed)
        if streamed:
            async with client.stream("POST", CHAT, json=body, headers=headers) as response:
                pieces = response.aiter_bytes()  # kept, since the response is closed with it
                await anext(pieces)
                await _until(watcher, headers, inside=True)
        else:
            task = asyncio.create_task(client.post(CHAT, json=body, headers=headers))
            await _until(watcher, headers, inside=True)
            task.cancel()
            await asyncio.wait([task])
        start = time.perf_counter()
        await _until(watcher, headers, inside=False)
        return round(time.perf_counter() - start, 3)


async def _until(client: httpx.AsyncClient, headers: dict[str, str], *, inside: bool) -> None:
    """Returns once the session's server has a request, and its engine runs it, or once neither is so."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        text = (await client.get("/metrics", headers=headers)).text
        values = [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(INSIDE)]
        if len(values) == len(INSIDE) and all((value > 0) == inside for value in values):
            return
        await asyncio.sleep(0.005)
    raise RuntimeError(f"{INSIDE} are not {'above 0' if inside else '0'} after {PATIENCE:.0f} s")


async def bodies(url: str) -> dict[str, Any]:
    """The status by MiB of a question whose data URL is long, and whether the answers are that of the question."""
    async with client_of(url) as client:
        plain = (await client.post(CHAT, json=questions.question(0))).json()["choices"]
        statuses, same = {}, []
        for size in SIZES:
            response = await client.post(CHAT, content=questions.large_body(0, size * MEBIBYTE), headers=JSON)
            statuses[size] = response.status_code
            if response.status_code == httpx.codes.OK:
                same.append(response.json()["choices"] == plain)
    return {"statuses_by_mib": statuses, "same_answers": f"{sum(same)} of {len(same)}"}


async def crowd_during(url: str, change: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    """Counts what 20 clients see before, during and after a change, and the faults of requests that began after it."""
    async with client_of(url) as client:
        crowd = Crowd(client, [questions.question(number) for number in range(CLIENTS)])
        await crowd.further(ANSWERS * CLIENTS)
        start = time.monotonic()
        await change()
        end = time.monotonic()
        await crowd.further(ANSWERS * CLIENTS)
        seen = await crowd.end()
    faults = Counter(outcome.fault for outcome in seen if outcome.fault)
    return {
        "requests": len(seen),
        "failed": faults.total(),
        "of_those_began_after": sum(bool(outcome.fault) for outcome in seen if outcome.began > end),
        "seconds_of_change": round(end - start, 1),
        "faults": dict(faults),
    }
