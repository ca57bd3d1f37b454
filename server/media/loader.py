"""Loads the media of requests: from a URL to views."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from llava_interleave_serve.server.errors import ServeError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.data_url import decode_data_url, is_data_url
from llava_interleave_serve.server.media.decode_pool import DecodePool
from llava_interleave_serve.server.media.fetch import Access, Fetcher, Resolver, resolve
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.single_flight import SingleFlight
from llava_interleave_serve.server.media.video.decode import Video, decode_video
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.media.video.worker_pool import CancellationHandle, VideoWorkerPool
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.timing import RequestTiming

T = TypeVar("T")


class MediaLoader:
    """Fetches and decodes images and videos.

    Requests that want the same media at the same time share one fetch and one decoding, whose times are added to the
    `timing` of each. Every error is a RequestError whose `param` is `<param given>.<option at fault>`, where the option
    is `url` or one of Sampling's: `messages[0].content[1].image_url.url`, say.
    """

    def __init__(
        self,
        limits: Limits,
        resize: SquareResize,
        access: Access,
        resolver: Resolver = resolve,
        video_reader: str = "pyav",
    ) -> None:
        """video_reader: one of VIDEO_READERS."""
        self._limits, self._resize = limits, resize
        self._fetcher = Fetcher(limits, access, resolver)
        self._pool = DecodePool()
        self._video_workers = VideoWorkerPool(limits.video_memory_bytes, video_reader)
        self._loads: SingleFlight[tuple[Any, RequestTiming]] = SingleFlight()
        # Bounds the memory of fetched files: each is held in full, from its first byte until it is decoded.
        self._fetch_slots = asyncio.Semaphore(limits.max_media_at_once)

    async def load_image(self, url: str, timing: RequestTiming, *, param: str) -> np.ndarray:
        """Loads an image as one view: uint8 [1, S, S, 3], RGB, shared with other requests and so not to be modified."""

        def decode(data: bytes, load_timing: RequestTiming) -> np.ndarray:
            return decode_image(data, self._resize, self._limits, load_timing)

        return await self._load_once(("image", url), lambda: self._load(url, "image", decode), timing, param)

    async def load_video(self, url: str, sampling: Sampling, timing: RequestTiming, *, param: str) -> Video:
        """Loads the sampled frames of a video, shared with other requests and so not to be modified."""

        async def load() -> tuple[Video, RequestTiming]:
            cancellation = CancellationHandle()

            def decode(data: bytes, load_timing: RequestTiming) -> Video:
                return decode_video(
                    data, sampling, self._resize, self._limits, self._video_workers, load_timing, cancellation
                )

            try:
                return await self._load(url, "video", decode)
            except asyncio.CancelledError:
                cancellation.cancel()  # the thread that decodes would go on to the end
                raise

        return await self._load_once(("video", url, sampling), load, timing, param)

    async def aclose(self) -> None:
        await self._fetcher.aclose()
        self._pool.close()
        self._video_workers.close()

    async def _load_once(
        self, key: Hashable, load: Callable[[], Awaitable[tuple[T, RequestTiming]]], timing: RequestTiming, param: str
    ) -> T:
        """Shares a load among the requests that want it, and reports its times and its error to each."""
        try:
            result: tuple[T, RequestTiming] = await self._loads.run(key, load)
        except ServeError as error:
            refusal = error.within(param)
        else:
            media, load_timing = result
            timing.merge(load_timing)
            return media
        raise refusal  # outside of `except`, because it would hold the first error, whose traceback holds the image

    async def _load(self, url: str, kind: str, decode: Callable[[bytes, RequestTiming], T]) -> tuple[T, RequestTiming]:
        """Fetches and decodes; returns the result and how long each phase took."""
        timing = RequestTiming()
        if is_data_url(url):
            return await self._pool.run(lambda: decode(self._data_of(url, kind, timing), timing)), timing
        async with self._fetch_slots:
            with timing.measure("fetch"):
                data = await self._fetcher.fetch(url)
            metrics.MEDIA_BYTES.labels(kind).inc(len(data))
            return await self._pool.run(lambda: decode(data, timing)), timing

    def _data_of(self, url: str, kind: str, timing: RequestTiming) -> bytes:
        with timing.measure("fetch"):
            data = decode_data_url(url, kind, self._limits.max_media_bytes)
        metrics.MEDIA_BYTES.labels(kind).inc(len(data))
        return data
