"""The one loader of media: from a URL to views, for every route that takes media."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from llava_interleave_serve.server.errors import ServeError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media import data_url
from llava_interleave_serve.server.media.decode_pool import DecodePool
from llava_interleave_serve.server.media.fetch import Access, Fetcher, Resolver, resolve
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.single_flight import Flights
from llava_interleave_serve.server.media.video.decode import Sampling, Video, decode_video
from llava_interleave_serve.server.media.video.worker_pool import Leash, VideoWorkers
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.timing import Phases

T = TypeVar("T")


class MediaLoader:
    """Fetches and decodes; the same media asked for several times at once is fetched and decoded once.

    Every error is a RequestError whose `param` is the option at fault under the `place` that was given.
    """

    def __init__(self, limits: Limits, resize: SquareResize, access: Access, resolver: Resolver = resolve) -> None:
        self._limits, self._resize = limits, resize
        self._fetcher = Fetcher(limits, access, resolver)
        self._pool = DecodePool()
        self._video_workers = VideoWorkers(limits.video_memory_bytes)
        self._flights: Flights[tuple[Any, Phases]] = Flights()
        # Bounds what is held in memory: a file in full, from its first byte until it is decoded.
        self._gate = asyncio.Semaphore(limits.max_media_at_once)

    async def load_image(self, url: str, phases: Phases, *, place: str) -> np.ndarray:
        """One view: uint8 [1, S, S, 3], not to be written to."""

        def decode(data: bytes, measured: Phases) -> np.ndarray:
            return decode_image(data, self._resize, self._limits, measured)

        return await self._shared(("image", url), lambda: self._load(url, "image", decode), phases, place)

    async def load_video(self, url: str, sampling: Sampling, phases: Phases, *, place: str) -> Video:
        """The sampled frames of a video, not to be written to."""

        async def load() -> tuple[Video, Phases]:
            leash = Leash()

            def decode(data: bytes, measured: Phases) -> Video:
                return decode_video(data, sampling, self._resize, self._limits, self._video_workers, measured, leash)

            try:
                return await self._load(url, "video", decode)
            except asyncio.CancelledError:
                leash.cut()
                raise

        return await self._shared(("video", url, sampling), load, phases, place)

    async def aclose(self) -> None:
        await self._fetcher.aclose()
        self._pool.close()
        self._video_workers.close()

    async def _shared(
        self, key: Hashable, load: Callable[[], Awaitable[tuple[T, Phases]]], phases: Phases, place: str
    ) -> T:
        try:
            flown: tuple[T, Phases] = await self._flights.join(key, load)
        except ServeError as error:
            refusal = error.at(place)
        else:
            loaded, measured = flown
            phases.join(measured)
            return loaded
        raise refusal  # behind the except, so that it does not hold the first error, and by it the picture

    async def _load(self, url: str, kind: str, decode: Callable[[bytes, Phases], T]) -> tuple[T, Phases]:
        measured = Phases()
        if data_url.is_data(url):
            return await self._pool.run(lambda: decode(self._unpacked(url, kind, measured), measured)), measured
        async with self._gate:
            with measured.measure("fetch"):
                data = await self._fetcher.fetch(url)
            metrics.MEDIA_BYTES.labels(kind).inc(len(data))
            return await self._pool.run(lambda: decode(data, measured)), measured

    def _unpacked(self, url: str, kind: str, measured: Phases) -> bytes:
        with measured.measure("fetch"):
            data = data_url.unpack(url, kind, self._limits.max_media_bytes)
        metrics.MEDIA_BYTES.labels(kind).inc(len(data))
        return data
