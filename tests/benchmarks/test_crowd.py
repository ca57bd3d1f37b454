"""The clients that measure a fleet tell a right answer from every wrong one."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from llava_interleave_serve.benchmarks.fleet import behaviour
from llava_interleave_serve.benchmarks.fleet.crowd import Crowd, read
from llava_interleave_serve.server.limits import Limits
from tests.support import app_server

pytestmark = pytest.mark.anyio
REFUSALS = 'lis_refusals_total{code="overloaded"}'


def event(text: str) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"


def answer(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}}]}


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (event("A") + event("B") + "data: [DONE]\n\n", ("AB", "")),
        (event("A"), ("", "the stream was cut")),
        (event("A") + event("B")[:20], ("", "the stream was cut")),
        ('data: {"error": {"code": "unavailable"}}\n\ndata: [DONE]\n\n', ("", "in the stream: {'error': {'code': 'un")),
        ("", ("", "the stream was cut")),
    ],
)
async def test_a_stream_is_an_answer_only_when_it_is_whole(stream: str, expected: tuple[str, str]) -> None:
    text, fault = read(httpx.Response(200, text=stream), streamed=True)
    assert (text, bool(fault)) == (expected[0], bool(expected[1]))
    assert fault.startswith(expected[1])


async def test_another_status_and_another_answer_are_faults() -> None:
    assert read(httpx.Response(200, json=answer("A")), streamed=False) == ("A", "")
    assert read(httpx.Response(503, text="no"), streamed=False) == ("", "503 no")
    sent: list[bool] = []

    async def respond(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        sent.append(body["stream"])
        await asyncio.sleep(0)
        if body["stream"]:
            return httpx.Response(200, text=event("A") + "data: [DONE]\n\n")
        return httpx.Response(200, json=answer("A" if sent.count(False) < 3 else "B"))

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond), base_url="http://server") as client:
        crowd = Crowd(client, [{}, {}])
        await crowd.further(8)
        outcomes = await crowd.end()
    faults = [outcome.fault for outcome in outcomes if outcome.fault]
    assert set(faults) == {"another answer: 'B' after 'A'"}
    assert len(faults) == sent.count(False) - 2


async def test_lost_connections_are_faults_and_clients_go_on() -> None:
    async def refuse(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        raise httpx.ConnectError("nobody is there")

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse), base_url="http://server") as client:
        crowd = Crowd(client, [{}])
        await crowd.further(3)
        outcomes = await crowd.end()
    assert len(outcomes) >= 3
    assert {outcome.fault for outcome in outcomes} == {"ConnectError('nobody is there')"}


async def test_what_comes_of_a_change_is_counted() -> None:
    with app_server.in_thread() as server:

        async def change() -> None:
            server.engine.fails = RuntimeError("broken")
            asked = len(server.engine.asked)
            while len(server.engine.asked) < asked + 2 * behaviour.CLIENTS:  # noqa: ASYNC110 - in another thread
                await asyncio.sleep(0.01)
            server.engine.fails = None

        counted = await behaviour.crowd_during(server.url, change)
    assert counted["requests"] > counted["failed"] > 0
    assert counted["of_those_began_after"] == 0
    assert all(fault.startswith("500 ") for fault in counted["faults"])


async def test_bodies_of_up_to_64_mib_have_the_answer_of_the_question_alone() -> None:
    with app_server.in_thread(limits=Limits(max_body_bytes=64 * behaviour.MEBIBYTE)) as server:
        assert await behaviour.bodies(server.url) == {
            "statuses_by_mib": {1: 200, 20: 200, 60: 200, 64: 200, 66: 413},
            "same_answers": "4 of 4",
        }


async def test_requests_at_once_are_counted_by_their_status() -> None:
    with app_server.in_thread(limits=Limits(max_requests=behaviour.PLACES)) as server, server.client() as client:
        server.engine.goes_on = asyncio.Event()
        before = refusals(client)
        task = asyncio.create_task(behaviour.at_once(server.url))
        while refusals(client) < before + behaviour.AT_ONCE - behaviour.PLACES:  # noqa: ASYNC110 - in another thread
            await asyncio.sleep(0.01)
        server.loop.call_soon_threadsafe(server.engine.goes_on.set)
        assert await task == {"statuses": {"200": 3, "429": 9}, "refused_without_retry_after": 0}


def refusals(client: httpx.Client) -> float:
    """How often servers of this process have refused a request for want of room."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(REFUSALS))
