"""The decode pool runs decoders in threads and returns their memory."""

import asyncio
import threading

import pytest

from llava_interleave_serve.server.media import decode_pool
from llava_interleave_serve.server.media.decode_pool import DecodePool

pytestmark = pytest.mark.anyio


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that returned memory to the system, one for each time."""
    threads: list[str] = []
    monkeypatch.setattr(decode_pool, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(decode_pool, "_trim_heap", lambda: threads.append(threading.current_thread().name))
    return threads


async def test_a_decode_pool_returns_memory_once_all_its_threads_are_idle(trims: list[str]) -> None:
    pool, go = DecodePool(2), threading.Event()
    waiting = asyncio.ensure_future(pool.run(go.wait))
    assert await pool.run(lambda: 1) == 1
    await asyncio.sleep(0.1)
    assert trims == []  # the first decoder still runs
    go.set()
    assert await waiting
    await asyncio.sleep(0.2)
    assert len(trims) == 1
    assert trims[0].startswith("decode")
    pool.close()


async def test_a_decode_pool_raises_the_error_of_a_decoder_and_returns_no_memory_once_closed(trims: list[str]) -> None:
    pool = DecodePool(1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0)
    pool.close()
    await asyncio.sleep(0.1)
    assert trims == []
