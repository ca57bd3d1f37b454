"""Look-ups that hang hold up neither other keys nor work of another kind."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from llava_interleave_serve.server.media import host_lookup
from llava_interleave_serve.server.media.host_lookup import LOOKUPS_AT_ONCE, HostLookup
from llava_interleave_serve.server.media.requester import Requester

pytestmark = pytest.mark.anyio


class HangingResolver:
    """Hangs for each name of `slow.example`, even if it is cancelled, until `release` is set.

    Attributes:
        names: that were looked up, in order.

    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.release = asyncio.Event()

    async def __call__(self, host: str, port: int) -> list[str]:
        self.names.append(host)
        if host.endswith(".slow.example"):
            await self.release.wait()
        return ["192.0.2.1"]


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_look_ups_that_nobody_waits_for_any_more_still_count_as_their_keys() -> None:
    resolver = HangingResolver()
    lookup = HostLookup(resolver, key_share=0.75)
    for number in range(3):  # each request leaves when its look-ups have begun, and the next comes
        tasks = [
            asyncio.create_task(lookup.addresses(f"{number}-{index}.slow.example", 80, Requester("A")))
            for index in range(LOOKUPS_AT_ONCE)
        ]
        await _settle()
        for task in tasks:
            task.cancel()
        await _settle()
    assert len(resolver.names) == LOOKUPS_AT_ONCE * 0.75
    assert await asyncio.wait_for(lookup.addresses("fast.example", 80, Requester("B")), 5) == ["192.0.2.1"]
    waiting = asyncio.create_task(lookup.addresses("fast.example", 80, Requester("A")))
    await _settle()
    assert not waiting.done()
    resolver.release.set()
    assert await asyncio.wait_for(waiting, 5) == ["192.0.2.1"]
    # Those that were cancelled before their turn were never looked up.
    assert len(resolver.names) == LOOKUPS_AT_ONCE * 0.75 + 2


async def test_a_host_is_looked_up_once_for_all_requests_of_a_key_that_wait_for_it() -> None:
    resolver = HangingResolver()
    lookup = HostLookup(resolver, key_share=1.0)
    tasks = [asyncio.create_task(lookup.addresses("a.slow.example", 80, Requester(key))) for key in "AAAB"]
    await _settle()
    assert len(resolver.names) == 2
    tasks[0].cancel()
    resolver.release.set()
    assert await asyncio.gather(*tasks[1:]) == [["192.0.2.1"]] * 3


async def test_the_error_of_a_look_up_reaches_its_caller_and_frees_its_slot() -> None:
    async def fail(host: str, port: int) -> list[str]:
        raise OSError("no such host")

    lookup = HostLookup(fail, key_share=1.0)
    for number in range(2 * LOOKUPS_AT_ONCE):
        with pytest.raises(OSError, match="no such host"):
            await lookup.addresses(f"{number}.example", 80, Requester())


async def test_the_systems_resolver_does_not_hold_up_the_threads_of_other_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()

    def hang(*arguments: Any, **options: Any) -> list[Any]:
        release.wait(10)
        return []

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", hang)
        lookups = [asyncio.create_task(host_lookup.resolve(f"{number}.example", 80)) for number in range(40)]
        await _settle()
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 5) == 1
        release.set()
        assert await asyncio.gather(*lookups) == [[]] * 40


async def test_the_systems_resolver_reads_the_machines_own_table_of_hosts() -> None:
    assert set(await host_lookup.resolve("localhost", 80)) & {"127.0.0.1", "::1"}
