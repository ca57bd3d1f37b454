"""Every checked address of a host is tried until one connects."""

import asyncio
import socket
from collections.abc import Iterator

import httpcore
import pytest

from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.media.guarded_network import (
    ATTEMPT_DELAY,
    CURRENT_REQUESTER,
    MOST_ADDRESSES,
    GuardedNetwork,
    HostRefused,
)
from llava_interleave_serve.server.media.host_lookup import HostLookup
from llava_interleave_serve.server.media.requester import Requester
from tests.support.fakes import media_host
from tests.support.fakes.media_host import MediaHost

pytestmark = pytest.mark.anyio
ALIVE, DEAD = "127.0.0.5", "127.0.0.6"  # nothing listens on the second
NO_ROUTE = "2001:db8::1"  # for documentation (RFC 3849), hence without a route


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address whose host does not answer to SYN: its backlog is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.7", 0))
        listening.listen(0)
        address, port = listening.getsockname()
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((address, port))
            fillers.append(filler)
        yield address, port
        for filler in fillers:
            filler.close()


async def connect(addresses: list[str], port: int, *, timeout: float = 5.0, access: Access | None = None) -> str:
    """The address that is connected to."""

    async def resolve(host: str, port: int) -> list[str]:
        return addresses

    CURRENT_REQUESTER.set(Requester())
    access = access or Access(allowed_hosts=frozenset({"pics.example"}))
    stream = await GuardedNetwork(access, HostLookup(resolve, 1.0)).connect_tcp("pics.example", port, timeout)
    peer: str = stream.get_extra_info("server_addr")[0]
    await stream.aclose()
    return peer


@pytest.mark.parametrize(
    "addresses",
    [[ALIVE], [DEAD, ALIVE], [NO_ROUTE, ALIVE], ["::1", ALIVE], [DEAD, NO_ROUTE, DEAD, ALIVE], [ALIVE, DEAD],
     [DEAD] * (MOST_ADDRESSES - 1) + [ALIVE], [*[NO_ROUTE] * MOST_ADDRESSES, ALIVE]],
)  # fmt: skip
async def test_dead_addresses_do_not_hide_a_live_one(addresses: list[str]) -> None:
    async with media_host.listening(ALIVE) as host:
        assert await connect(addresses, host.port) == ALIVE


async def test_an_address_that_does_not_answer_is_left_behind_after_a_moment(silent: tuple[str, int]) -> None:
    address, port = silent
    host = MediaHost()
    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(host.serve, ALIVE, port) as server:
        started = loop.time()
        assert await connect([address, ALIVE], port) == ALIVE
        assert ATTEMPT_DELAY <= loop.time() - started + 0.01 < 3.0
        server.close()


async def test_all_addresses_together_have_the_time_of_one_connection(silent: tuple[str, int]) -> None:
    address, port = silent
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(httpcore.ConnectTimeout):
        await connect([address] * MOST_ADDRESSES, port, timeout=0.5)
    assert loop.time() - started < 2.0


async def test_a_host_of_dead_addresses_alone_is_an_error() -> None:
    async with media_host.listening(ALIVE) as host:
        with pytest.raises((httpcore.ConnectError, httpcore.ConnectTimeout)):
            await connect([DEAD, NO_ROUTE], host.port, timeout=0.5)


async def test_all_addresses_are_checked_before_the_first_connection() -> None:
    async with media_host.listening(ALIVE) as host:
        with pytest.raises(HostRefused, match="not a public one"):
            await connect([ALIVE, DEAD], host.port, access=Access(allowed_hosts=frozenset({f"{ALIVE}/32"})))
        await asyncio.sleep(0)
        assert host.connections == 0


async def test_no_more_addresses_are_tried_than_the_bound() -> None:
    async with media_host.listening(ALIVE) as host:
        with pytest.raises(httpcore.ConnectError):
            await connect([*[DEAD] * MOST_ADDRESSES, ALIVE], host.port)


async def test_only_one_of_several_live_addresses_stays_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava_interleave_serve.server.media.guarded_network.ATTEMPT_DELAY", 0.0)
    async with media_host.listening(ALIVE, DEAD) as host:
        for _ in range(20):
            assert await connect([ALIVE, DEAD], host.port) in (ALIVE, DEAD)
