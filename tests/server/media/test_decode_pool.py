"""The decoders' threads."""

import asyncio
import threading

import pytest

from llava_interleave_serve.server.media import decode_pool
from llava_interleave_serve.server.media.decode_pool import DecodePool

pytestmark = pytest.mark.anyio


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that gave memory back, one name a time."""
    threads: list[str] = []
    monkeypatch.setattr(decode_pool, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(decode_pool, "_trim", lambda: threads.append(threading.current_thread().name))
    return threads


async def test_memory_is_given_back_once_all_are_idle(trims: list[str]) -> None:
    decoders, go = DecodePool(2), threading.Event()
    long = asyncio.ensure_future(decoders.run(go.wait))
    assert await decoders.run(lambda: 1) == 1
    await asyncio.sleep(0.1)
    assert trims == []  # the other still runs
    go.set()
    assert await long
    await asyncio.sleep(0.2)
    assert len(trims) == 1
    assert trims[0].startswith("decode")
    decoders.close()


async def test_an_error_is_the_decoders_and_a_closed_pool_does_nothing_more(trims: list[str]) -> None:
    decoders = DecodePool(1)
    with pytest.raises(ZeroDivisionError):
        await decoders.run(lambda: 1 // 0)
    decoders.close()
    await asyncio.sleep(0.1)
    assert trims == []
