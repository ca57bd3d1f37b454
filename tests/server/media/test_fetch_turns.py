"""Fetches of one host, request or key leave places to those of others."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llava_interleave_serve.server.admission import Admission, Load
from llava_interleave_serve.server.errors import LimitExceeded, Overloaded
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.media.fetch import Fetcher
from llava_interleave_serve.server.media.requester import Requester, RequestMediaTooLarge
from tests.support.fakes import media_host
from tests.support.fakes.media_host import MediaHost

pytestmark = pytest.mark.anyio
SLOW, FAST = "127.0.0.3", "127.0.0.4"
PATIENCE = 5.0  # seconds in which what is due at once must have come


class Fetches:
    """Fetches of one Fetcher from a host at two addresses, each of which counts as a host of its own."""

    def __init__(self, fetcher: Fetcher, host: MediaHost, admission: Admission) -> None:
        self.fetcher, self.host, self.admission = fetcher, host, admission
        self._tasks: list[asyncio.Task[bytes]] = []

    def url(self, address: str, path: str) -> str:
        return f"http://{address}:{self.host.port}{path}"

    async def fetch(self, address: str, path: str, requester: Requester) -> bytes:
        async with self.fetcher.fetch(self.url(address, path), requester) as data:
            return data

    async def soon(self, address: str, path: str, requester: Requester) -> bytes:
        """Fetches; fails unless it comes at once."""
        return await asyncio.wait_for(self.fetch(address, path, requester), PATIENCE)

    async def start_held(self, number: int, address: str, requester: Requester, path: str = "/held/{}") -> None:
        """Starts fetches that get no response, and waits until no more of them are sent."""
        for index in range(number):
            self.start(self.fetch(address, path.format(index), requester))
        before = -1
        while before < len(self.host.paths):
            before = len(self.host.paths)
            await asyncio.sleep(0.1)

    def start(self, fetch: Coroutine[Any, Any, bytes]) -> asyncio.Task[bytes]:
        self._tasks.append(asyncio.create_task(fetch))
        return self._tasks[-1]

    async def finish(self) -> None:
        self.host.release.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks, return_exceptions=True), PATIENCE)


@asynccontextmanager
async def fetches(**limits: Any) -> AsyncIterator[Fetches]:
    all_limits = Limits(**limits)
    admission = Admission(all_limits)
    async with media_host.listening(SLOW, FAST) as host:
        fetcher = Fetcher(all_limits, Access(allowed_hosts=frozenset({"127.0.0.0/8"})), admission)
        try:
            yield Fetches(fetcher, host, admission)
        finally:
            host.release.set()
            await fetcher.aclose()


class TestTurns:
    async def test_a_slow_host_leaves_places_to_other_hosts(self) -> None:
        async with fetches() as its:
            for number in range(8):
                await its.start_held(8, SLOW, Requester(f"{number}"))
            assert len(its.host.paths) == 8
            assert await its.soon(FAST, "/", Requester("B")) == b"x"
            await its.finish()

    async def test_one_request_has_no_more_fetches_under_way_than_its_bound(self) -> None:
        async with fetches(max_fetches_per_request=3) as its:
            await its.start_held(10, SLOW, Requester("A"))
            assert len(its.host.paths) == 3
            assert await its.soon(FAST, "/", Requester("A")) == b"x"
            await its.finish()
            assert len(its.host.paths) == 11

    async def test_a_key_leaves_places_at_a_host_to_other_keys(self) -> None:
        async with fetches(max_fetches_per_host=4, max_key_share=0.8) as its:
            for _ in range(5):
                await its.start_held(4, SLOW, Requester("A"))
            assert len(its.host.paths) == 3
            assert await its.soon(SLOW, "/", Requester("B")) == b"x"
            await its.finish()

    async def test_a_key_leaves_places_among_all_media_to_other_keys(self) -> None:
        async with fetches(max_media_at_once=10, max_fetches_per_host=100, max_key_share=0.8) as its:
            for _ in range(5):
                await its.start_held(8, SLOW, Requester("A"))
            assert len(its.host.paths) == 8
            assert await its.soon(FAST, "/", Requester("B")) == b"x"
            await its.finish()

    async def test_a_host_serves_keys_in_turn(self) -> None:
        async with fetches(max_fetches_per_host=1) as its:
            await its.start_held(8, SLOW, Requester("A"), "/held/a{}")
            polite = its.start(its.fetch(SLOW, "/b", Requester("B")))
            await its.finish()
            assert polite.done()
            assert its.host.paths.index("/b") <= 2

    async def test_a_redirect_waits_for_its_new_host_without_a_place_among_all_media(self) -> None:
        async with fetches(max_media_at_once=4, max_fetches_per_host=2) as its:
            for number in range(4):
                await its.start_held(2, FAST, Requester(f"{number}"), f"/redirect/{its.url(SLOW, '/held/{}')}")
            assert sum(path.startswith("/held/") for path in its.host.paths) == 2
            assert await its.soon(FAST, "/", Requester("B")) == b"x"
            await its.finish()

    async def test_waiting_for_a_turn_is_not_part_of_the_time_of_a_fetch(self) -> None:
        async with fetches(max_fetches_per_host=1, fetch_timeout=1.0) as its:
            first = its.start(its.fetch(SLOW, "/held/", Requester("A")))
            second = its.start(its.fetch(SLOW, "/", Requester("A")))
            with pytest.raises(Exception, match="not fetched within 1 s"):
                await first
            assert await second == b"x"


class TestBytes:
    async def test_fetched_bytes_count_as_the_keys_until_the_file_is_decoded(self) -> None:
        async with fetches() as its:
            its.host.contents["/a"] = b"x" * 100_000
            async with its.fetcher.fetch(its.url(FAST, "/a"), Requester("A")) as data:
                assert len(data) == 100_000
                assert its.admission.load == Load(bytes=100_000)
            assert its.admission.load == Load()

    async def test_bytes_are_released_after_an_error(self) -> None:
        async with fetches(max_media_bytes=300_000) as its:
            its.host.contents["/a"] = b"x" * 300_001
            with pytest.raises(LimitExceeded, match="larger than 300000 bytes"):
                await its.soon(FAST, "/a", Requester("A"))
            assert its.admission.load == Load()

    async def test_files_for_which_there_is_no_room_are_refused_for_now(self) -> None:
        async with fetches(max_body_bytes=1000, max_inflight_bytes=150_000) as its:
            its.host.contents["/a"] = b"x" * 100_000
            with its.admission.reserve("A", 0), its.admission.reserve("B", 0):
                async with its.fetcher.fetch(its.url(FAST, "/a"), Requester("A")):
                    with pytest.raises(Overloaded, match="bytes") as refusal:
                        await its.soon(FAST, "/a", Requester("B"))
                assert refusal.value.retry_after
                assert await its.soon(FAST, "/a", Requester("B"))

    async def test_a_file_that_the_only_request_can_never_have_room_for_exceeds_a_limit(self) -> None:
        async with fetches(max_body_bytes=1000, max_inflight_bytes=100_000) as its:
            its.host.contents["/a"] = b"x" * 100_000
            with its.admission.reserve("A", 1), pytest.raises(LimitExceeded, match="room for"):
                await its.soon(FAST, "/a", Requester("A"))

    async def test_the_files_of_one_request_together_are_bounded(self) -> None:
        async with fetches(max_request_media_bytes=250_000) as its:
            its.host.contents |= {"/a": b"x" * 100_000, "/b": b"x" * 100_000}
            requester = Requester("A")
            await its.soon(FAST, "/a", requester)
            await its.soon(FAST, "/b", requester)
            with pytest.raises(RequestMediaTooLarge, match="larger than 250000 bytes together"):
                await its.soon(FAST, "/a", requester)
            assert await its.soon(FAST, "/a", Requester("A"))


class TestHttp:
    async def test_a_request_on_a_kept_connection_that_the_host_closes_is_sent_once_more(self) -> None:
        async with fetches() as its:
            its.host.requests_of_connection = 2
            for number in range(7):
                assert await its.soon(FAST, f"/{number}", Requester()) == b"x"
            assert its.host.connections == 4
            assert its.host.paths == [f"/{number}" for number in range(7)]

    async def test_a_host_that_closes_every_connection_is_an_error(self) -> None:
        async with fetches() as its:
            its.host.requests_of_connection = 0
            with pytest.raises(Exception, match="does not speak proper HTTP"):
                await its.soon(FAST, "/", Requester())
            assert its.host.connections == 1

    async def test_hosts_are_told_which_software_asks(self) -> None:
        async with fetches() as its:
            await its.soon(FAST, "/", Requester())
            assert its.host.headers["user-agent"].startswith("llava-interleave-serve/")
