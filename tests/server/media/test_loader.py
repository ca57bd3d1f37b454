"""Requests that want the same media at the same time share one load, and not each other's bounds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llava_interleave_serve.server.admission import Admission
from llava_interleave_serve.server.errors import LimitExceeded, Overloaded
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.media.image.picture import Picture
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.loader import MediaLoader
from llava_interleave_serve.server.media.requester import Requester
from tests.support.fakes import media_host
from tests.support.fakes.media_host import MediaHost
from tests.support.image_files import NOISE, encode

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def loading(**changes: Any) -> AsyncIterator[tuple[MediaLoader, MediaHost, Admission]]:
    limits = Limits(**changes)
    admission = Admission(limits)
    async with media_host.listening() as host:
        loader = MediaLoader(limits, SquareResize(32), Access(allowed_hosts=frozenset({"127.0.0.1"})), admission)
        try:
            yield loader, host, admission
        finally:
            host.release.set()
            await loader.aclose()


async def _joined(first: Any, second: Any) -> tuple[Any, Any]:
    """The results of two loads, of which the second joins the first."""
    one = asyncio.create_task(first)
    await asyncio.sleep(0.2)
    other = asyncio.create_task(second)
    await asyncio.sleep(0.2)
    return await asyncio.gather(one, other, return_exceptions=True)  # type: ignore[return-value]


async def test_a_file_that_is_too_much_for_one_request_is_loaded_for_another() -> None:
    picture = encode(NOISE)
    async with loading(max_request_media_bytes=len(picture) + 100) as (loader, host, _):
        host.contents |= {"/held/a": picture, "/b": picture}
        url = f"http://127.0.0.1:{host.port}"
        full, fresh = Requester(), Requester()
        await loader.load_image(f"{url}/b", full, param="0")

        async def release() -> None:
            await asyncio.sleep(0.5)
            host.release.set()

        releasing = asyncio.create_task(release())
        refused, picture_of_other = await _joined(
            loader.load_image(f"{url}/held/a", full, param="1"), loader.load_image(f"{url}/held/a", fresh, param="2")
        )
        await releasing
        assert isinstance(refused, LimitExceeded)
        assert refused.param == "1.url"
        assert picture_of_other.views.shape == (1, 32, 32, 3)
        assert host.paths == ["/b", "/held/a", "/held/a"]


async def test_a_request_that_asks_just_as_another_fails_by_its_own_bound_loads_the_file_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = encode(NOISE)
    async with loading(max_request_media_bytes=len(picture)) as (loader, host, _):
        host.contents |= {"/a": picture}
        url = f"http://127.0.0.1:{host.port}/a"
        asking: list[asyncio.Task[Picture]] = []
        load, run, runs = loader._load, loader._loads.run, 0

        async def load_and_ask(*args: Any) -> Any:
            try:
                return await load(*args)
            except LimitExceeded:  # the other's first step comes after this task's end, and before its callbacks
                asking.append(asyncio.create_task(loader.load_image(url, Requester(), param="1")))
                raise

        async def count(*args: Any) -> Any:
            nonlocal runs
            runs += 1
            assert runs < 10, "the request asks for ever"
            return await run(*args)

        monkeypatch.setattr(loader, "_load", load_and_ask)
        monkeypatch.setattr(loader._loads, "run", count)
        with pytest.raises(LimitExceeded):
            await loader.load_image(url, Requester(fetched_bytes=1), param="0")
        assert (await asking[0]).views.shape == (1, 32, 32, 3)


async def test_bytes_of_a_shared_file_stay_counted_when_the_request_that_began_it_leaves() -> None:
    async with loading() as (loader, host, admission):
        host.contents["/held/a"] = encode(NOISE)
        url = f"http://127.0.0.1:{host.port}/held/a"
        first = asyncio.create_task(loader.load_image(url, Requester(), param="0"))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(loader.load_image(url, Requester(), param="0"))
        await asyncio.sleep(0.1)
        first.cancel()
        host.release.set()
        assert (await second).views.shape == (1, 32, 32, 3)
        assert host.paths == ["/held/a"]
        assert admission.load.bytes == 0


async def test_a_file_for_which_there_is_no_room_now_is_the_fault_of_no_part() -> None:
    picture = encode(NOISE)
    async with loading(max_body_bytes=1000, max_inflight_bytes=len(picture) + 500) as (loader, host, admission):
        host.contents["/a"] = picture
        with admission.reserve("", 1000), admission.reserve("", 0), pytest.raises(Overloaded) as refusal:
            await loader.load_image(f"http://127.0.0.1:{host.port}/a", Requester(), param="0")
        assert refusal.value.param is None
