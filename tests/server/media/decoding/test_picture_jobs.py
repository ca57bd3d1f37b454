"""Processes make the views of any resolution, read sizes, and may say of them only what can be."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.visual import Resizing
from llava_interleave_serve.server.errors import LimitExceeded, MediaError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.decoding import protocol
from llava_interleave_serve.server.media.decoding.pool import DecodePool
from llava_interleave_serve.server.media.decoding.worker import Job
from llava_interleave_serve.server.media.image.resize import SquareResize
from tests.support.media.decode_jobs import COLOUR, decode, image_file

pytestmark = pytest.mark.anyio
SMALL = AnyResolution(((16, 32), (32, 16), (32, 32)), 16, 2)


@pytest.fixture
async def pool() -> AsyncIterator[DecodePool]:
    pool = DecodePool(Limits(decode_workers=1, max_pixels=100_000), SquareResize(16, any_resolution=SMALL))
    yield pool
    pool.close()


@pytest.mark.parametrize(("resizing", "views"), [("squash", 1), ("pad", 1), ("anyres", 3)])
async def test_an_image_has_the_views_of_its_resizing_and_its_size(
    pool: DecodePool, resizing: Resizing, views: int
) -> None:
    decoded = await decode(pool, Job("image", image_file(40, 20), resizing=resizing))
    assert decoded.views.shape == (views, 16, 16, 3)
    assert (decoded.views[:, 8, 8] == COLOUR).all()
    assert decoded.result.size == [40, 20]


async def test_the_size_of_an_image_is_read_without_its_pixels(pool: DecodePool) -> None:
    url = "data:image/png;base64," + base64.b64encode(image_file(300, 20)).decode()
    decoded = await decode(pool, Job("size", url))
    assert (decoded.result.size, decoded.result.pixels, len(decoded.views)) == ([300, 20], 0, 0)
    with pytest.raises(LimitExceeded, match="2000x1500"):
        await decode(pool, Job("size", image_file(2000, 1500)))
    with pytest.raises(MediaError, match="not a JPEG"):
        await decode(pool, Job("size", b"no image"))


@pytest.mark.parametrize("said", [
    {"views": 1, "size": [40, 20]}, {"views": 3, "size": None}, {"views": 3, "size": [0, 20]}, {"views": 3},
    {"views": 3, "size": [40, 20, 1]}, {"views": 0, "size": [40, 20]}, {"views": 10**9, "size": [40, 20]},
    {"views": 3, "size": [10**400, 1]}, {"views": 3, "size": [40, 20], "intervals": {"decode": [[1.0]]}},
    {"views": 3, "size": [40, 20], "video": {"indices": [0] * 3, "times": [0.0] * 3, "duration": 1.0, "fps": 1.0}},
])  # fmt: skip
async def test_a_process_whose_views_are_not_those_of_the_size_is_ended(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]
) -> None:
    async def read(reader: asyncio.StreamReader) -> Any:
        return {"pixels": 1, "data_url_bytes": 0, "intervals": {}} | said

    job = Job("image", image_file(40, 20), resizing="anyres")
    await decode(pool, job)
    with monkeypatch.context() as patch:
        patch.setattr(protocol, "read", read)
        with pytest.raises(MediaError, match="gave up"):
            await decode(pool, job)
    assert len((await decode(pool, job)).views) == 3
