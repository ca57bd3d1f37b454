"""The one loader of media: from a URL to views, for every route that takes media."""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TypeVar

import numpy as np

from llava_interleave_serve.server import metrics
from llava_interleave_serve.server.media import image, video
from llava_interleave_serve.server.media.fetch import Access, Fetcher, Resolver, resolve
from llava_interleave_serve.server.media.limits import Limits
from llava_interleave_serve.server.media.pool import DecodePool
from llava_interleave_serve.server.media.video_workers import VideoWorkers

T = TypeVar("T")


class MediaLoader:
    """Fetches and decodes. Every error is a RequestError whose `param` is the one given, or an option beside it."""

    def __init__(self, limits: Limits, image_size: int, access: Access, resolver: Resolver = resolve) -> None:
        self._limits, self._size = limits, image_size
        self._fetcher = Fetcher(limits, access, resolver)
        self._pool = DecodePool(limits.decode_timeout)
        self._video_workers = VideoWorkers(limits.video_memory_bytes)

    async def load_image(self, url: str, *, param: str) -> np.ndarray:
        """One view: uint8 [1, S, S, 3]."""
        data = await self._fetch(url, "image", param)
        return await self._decode(
            partial(image.decode, data, self._size, self._limits.max_pixels, param=param), "image", param
        )

    async def load_video(self, url: str, sampling: video.Sampling, *, param: str) -> video.Video:
        """The sampled frames of a video."""
        data = await self._fetch(url, "video", param)
        return await self._decode(
            partial(video.decode, data, sampling, self._size, self._limits, self._video_workers, param=param),
            "video",
            param,
        )

    async def aclose(self) -> None:
        await self._fetcher.aclose()
        self._pool.close()
        self._video_workers.close()

    async def _fetch(self, url: str, kind: str, param: str) -> bytes:
        started = perf_counter()
        data = await self._fetcher.fetch(url, kind, param=param)
        metrics.FETCH.observe(perf_counter() - started)
        metrics.MEDIA_BYTES.labels(kind).inc(len(data))
        return data

    async def _decode(self, decode: Callable[[], T], kind: str, param: str) -> T:
        started = perf_counter()
        decoded = await self._pool.run(decode, param=param)
        metrics.DECODE.labels(kind).observe(perf_counter() - started)
        return decoded
