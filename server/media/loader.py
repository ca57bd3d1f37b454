"""Loads the media of requests: from a URL to views."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import numpy as np

from llava_interleave_serve.server.admission import Admission
from llava_interleave_serve.server.errors import ServeError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.media.data_url import decode_data_url, is_data_url
from llava_interleave_serve.server.media.decode_pool import DecodePool
from llava_interleave_serve.server.media.fetch import Fetcher, RequestMediaTooLarge
from llava_interleave_serve.server.media.host_lookup import Resolver, resolve
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.requester import Requester
from llava_interleave_serve.server.media.single_flight import SingleFlight
from llava_interleave_serve.server.media.video.decode import Video, decode_video
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.media.video.worker_pool import CancellationHandle, VideoWorkerPool
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.timing import RequestTiming

T = TypeVar("T")


class MediaLoader:
    """Fetches and decodes images and videos.

    Requests of one API key that want the same media at the same time share one fetch and one decoding, whose times are
    added to the `timing` of each. Every error is a RequestError whose `param` is `<param given>.<option at fault>`,
    where the option is `url` or one of Sampling's: `messages[0].content[1].image_url.url`, say.
    """

    def __init__(
        self,
        limits: Limits,
        resize: SquareResize,
        access: Access,
        admission: Admission,
        resolver: Resolver = resolve,
    ) -> None:
        self._limits, self._resize = limits, resize
        self._fetcher = Fetcher(limits, access, admission, resolver)
        self._pool = DecodePool()
        self._video_workers = VideoWorkerPool(limits.video_memory_bytes)
        self._loads: SingleFlight[tuple[Any, RequestTiming]] = SingleFlight()

    async def load_image(self, url: str, requester: Requester, *, param: str) -> np.ndarray:
        """Loads an image as one view: uint8 [1, S, S, 3], RGB, shared with other requests and so not to be modified."""

        def decode(data: bytes, load_timing: RequestTiming) -> np.ndarray:
            return decode_image(data, self._resize, self._limits, load_timing)

        return await self._load_once(
            ("image", url), lambda: self._load(url, "image", decode, requester), requester, param
        )

    async def load_video(self, url: str, sampling: Sampling, requester: Requester, *, param: str) -> Video:
        """Loads the sampled frames of a video, shared with other requests and so not to be modified."""

        async def load() -> tuple[Video, RequestTiming]:
            cancellation = CancellationHandle()

            def decode(data: bytes, load_timing: RequestTiming) -> Video:
                return decode_video(
                    data, sampling, self._resize, self._limits, self._video_workers, load_timing, cancellation
                )

            try:
                return await self._load(url, "video", decode, requester)
            except asyncio.CancelledError:
                cancellation.cancel()  # the thread that decodes would go on to the end
                raise

        return await self._load_once(("video", url, sampling), load, requester, param)

    async def aclose(self) -> None:
        await self._fetcher.aclose()
        self._pool.close()
        self._video_workers.close()

    async def _load_once(
        self, media: Hashable, load: Callable[[], Awaitable[tuple[T, RequestTiming]]], requester: Requester, param: str
    ) -> T:
        """Shares a load among the requests that want it, and reports its times and its error to each.

        Only requests of one key share: a load waits for its turn among those of the request that began it.
        """
        began = False

        def own_load() -> Awaitable[tuple[T, RequestTiming]]:
            nonlocal began
            began = True
            return load()

        while True:
            try:
                result: tuple[T, RequestTiming] = await self._loads.run((requester.key, media), own_load)
            except ServeError as error:
                if isinstance(error, RequestMediaTooLarge) and not began:
                    continue  # it was too much for the other request
                refusal = error.within(param)
                break
            views, load_timing = result
            requester.timing.merge(load_timing)
            return views
        try:
            raise refusal  # outside of `except`, because it would hold the first error, whose traceback holds the image
        finally:
            del refusal  # whose traceback holds this frame

    async def _load(
        self, url: str, kind: str, decode: Callable[[bytes, RequestTiming], T], requester: Requester
    ) -> tuple[T, RequestTiming]:
        """Fetches and decodes; returns the result and how long each phase took."""
        timing = RequestTiming()
        if is_data_url(url):
            return await self._pool.run(lambda: decode(self._data_of(url, kind, timing), timing)), timing
        async with AsyncExitStack() as held:
            with timing.measure("fetch"):
                data = await held.enter_async_context(self._fetcher.fetch(url, requester))
            metrics.MEDIA_BYTES.labels(kind).inc(len(data))
            return await self._pool.run(lambda: decode(data, timing)), timing

    def _data_of(self, url: str, kind: str, timing: RequestTiming) -> bytes:
        with timing.measure("fetch"):
            data = decode_data_url(url, kind, self._limits.max_media_bytes)
        metrics.MEDIA_BYTES.labels(kind).inc(len(data))
        return data
