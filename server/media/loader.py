"""Loads the media of requests: from a URL to views."""

import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack

import numpy as np

from llava_interleave_serve.server.admission import Admission
from llava_interleave_serve.server.errors import FetchError, MediaError, ServeError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.media.data_url import NOT_ASCII, is_data_url
from llava_interleave_serve.server.media.decoding.pool import DecodePool
from llava_interleave_serve.server.media.decoding.worker import DecodedMedia, Job, MediaKind
from llava_interleave_serve.server.media.fetch import Fetcher
from llava_interleave_serve.server.media.host_lookup import Resolver, resolve
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.requester import Requester, RequestMediaTooLarge
from llava_interleave_serve.server.media.single_flight import SingleFlight
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.media.video.video import Video
from llava_interleave_serve.server.observability import metrics
from llava_interleave_serve.server.observability.timing import RequestTiming


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
        video_reader: str = "pyav",
    ) -> None:
        """video_reader: one of VIDEO_READERS."""
        self._fetcher = Fetcher(limits, access, admission, resolver)
        self._pool = DecodePool(limits, resize, video_reader)
        self._loads: SingleFlight[tuple[DecodedMedia, RequestTiming]] = SingleFlight()

    async def load_image(self, url: str, requester: Requester, *, param: str) -> np.ndarray:
        """Loads an image as one view: uint8 [1, S, S, 3], RGB, shared with other requests and so not to be modified."""
        return (await self._load_once("image", url, None, requester, param)).views

    async def load_video(self, url: str, sampling: Sampling, requester: Requester, *, param: str) -> Video:
        """Loads the sampled frames of a video, shared with other requests and so not to be modified."""
        decoded = await self._load_once("video", url, sampling, requester, param)
        facts = decoded.result.video
        if facts is None:
            raise MediaError("the video is damaged: its decoder gave up", param=f"{param}.url")
        return Video(decoded.views, facts.indices, facts.times, facts.duration, facts.fps)

    async def aclose(self) -> None:
        await self._fetcher.aclose()
        self._pool.close()

    async def _load_once(
        self, media: MediaKind, url: str, sampling: Sampling | None, requester: Requester, param: str
    ) -> DecodedMedia:
        """Shares a load among the requests that want it, and reports its times and its error to each.

        Only requests of one key share: a load waits for its turn among those of the request that began it.
        """
        began = False

        def own_load() -> Awaitable[tuple[DecodedMedia, RequestTiming]]:
            nonlocal began
            began = True
            return self._load(media, url, sampling, requester)

        while True:
            try:
                decoded, timing = await self._loads.run((requester.key, media, url, sampling), own_load)
            except ServeError as error:
                if isinstance(error, RequestMediaTooLarge) and not began:
                    continue  # it was too much for the other request
                refusal = error.within(param)
                break
            requester.timing.merge(timing)
            return decoded
        try:
            raise refusal  # outside of `except`, because it would hold the first error, whose traceback holds the image
        finally:
            del refusal  # whose traceback holds this frame

    async def _load(
        self, media: MediaKind, url: str, sampling: Sampling | None, requester: Requester
    ) -> tuple[DecodedMedia, RequestTiming]:
        """Fetches and decodes; returns the result and how long each phase took."""
        timing = RequestTiming()
        if is_data_url(url):
            if not url.isascii():
                raise FetchError(NOT_ASCII, param="url")
            return await self._decode(media, url, sampling, requester, timing), timing
        async with AsyncExitStack() as held:
            with timing.measure("fetch"):
                data = await held.enter_async_context(self._fetcher.fetch(url, requester))
            metrics.MEDIA_BYTES.labels(media).inc(len(data))
            return await self._decode(media, data, sampling, requester, timing), timing

    async def _decode(
        self,
        media: MediaKind,
        source: str | bytes,
        sampling: Sampling | None,
        requester: Requester,
        timing: RequestTiming,
    ) -> DecodedMedia:
        started = time.monotonic()
        decoded = await self._pool.decode(Job(media, source, sampling), requester)
        result, now = decoded.result, time.monotonic()
        for phase, intervals in result.intervals.items():
            for start, end in intervals:
                timing.add(phase, min(max(start, started), now), min(max(end, started), now))
        metrics.MEDIA_BYTES.labels(media).inc(result.data_url_bytes)
        metrics.MEDIA_PIXELS.labels(media).inc(result.pixels)
        if media == "video":
            metrics.VIDEO_FRAMES.inc(result.views)
        return decoded
