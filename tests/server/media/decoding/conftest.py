"""A decode pool, and a video for it."""

from collections.abc import AsyncIterator

import pytest

from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.decoding.pool import DecodePool
from llava_interleave_serve.server.media.image.resize import SquareResize
from tests.support import damaged_videos


@pytest.fixture(scope="package")
def video() -> bytes:
    return damaged_videos.write("mp4", 30)


@pytest.fixture
async def pool() -> AsyncIterator[DecodePool]:
    pool = DecodePool(Limits(decode_workers=2), SquareResize(16))
    yield pool
    pool.close()
