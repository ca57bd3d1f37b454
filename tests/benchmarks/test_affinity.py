"""The measurement of affinity sends the load that it says, and counts repeated media alone."""

import asyncio

import pytest

from llava_interleave_serve.benchmarks.fleet import affinity
from tests.support.fakes.chat_server import FakeChatServer

pytestmark = pytest.mark.anyio


async def test_runs_differ_in_their_sessions_and_further_turns_count_as_repeats() -> None:
    async with FakeChatServer() as server:
        shared = await asyncio.to_thread(affinity.measure, server.url, "multi-turn", 4, "shared", 1, 0)
        of_shared = [served.session for served in server.served]
        own = await asyncio.to_thread(affinity.measure, server.url, "multi-turn", 4, "own", 1, 0)
        of_own = [served.session for served in server.served[len(of_shared) :]]
    assert len(set(of_shared)) == 4 < len(of_shared)
    assert len(set(of_own)) == len(of_own) == len(of_shared)
    for run in (shared, own):
        assert sum(map(affinity.is_repeated, run)) == len(of_own) - 4
