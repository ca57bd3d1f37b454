"""Loads the media of requests: from a URL to views."""

import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack

from llava_interleave_serve.model_executor.visual import Resizing
from llava_interleave_serve.server.admission import Admission
from llava_interleave_serve.server.errors import FetchError, MediaError, ServeError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.media.data_url import NOT_ASCII, is_data_url
from llava_interleave_serve.server.media.decoding.pool import DecodePool
from llava_interleave_serve.server.media.decoding.worker import DecodedMedia, Job, MediaKind
from llava_interleave_serve.server.media.fetch import Fetcher
from llava_interleave_serve.server.media.host_lookup import Resolver, resolve
from llava_interleave_serve.server.media.image.picture import Picture
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

    async def load_image(self, url: str, requester: Requester, *, param: str, resizing: Resizing = "squash") -> Picture:
        """Loads an image and makes its views, shared with other requests and so not to be modified."""
        decoded = await self._load_once("image", url, None, requester, param, resizing)
        return Picture(decoded.views, *_size(decoded, param))

    async def read_size(self, data_url: str, requester: Requester, *, param: str) -> tuple[int, int]:
        """Reads the width and height of the image in a data URL, as it would be shown; nothing is decoded."""
        return _size(await self._load_once("size", data_url, None, requester, param), param)

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
        self,
        media: MediaKind,
        url: str,
        sampling: Sampling | None,
        requester: Requester,
        param: str,
        resizing: Resizing = "squash",
    ) -> DecodedMedia:
        """Shares a load among the requests that want it, and reports its times and its error to each.

        Only requests of one key share: a load waits for its turn among those of the request that began it.
        """
        began = False

        def own_load() -> Awaitable[tuple[DecodedMedia, RequestTiming]]:
            nonlocal began
            began = True
            return self._load(media, url, sampling, requester, resizing)

        while True:
            try:
                decoded, timing = await self._loads.run((requester.key, media, url, sampling, resizing), own_load)
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
        self, media: MediaKind, url: str, sampling: Sampling | None, requester: Requester, resizing: Resizing
    ) -> tuple[DecodedMedia, RequestTiming]:
        """Fetches and decodes; returns the result and how long each phase took."""
        timing = RequestTiming()
        if is_data_url(url):
            if not url.isascii():
                raise FetchError(NOT_ASCII, param="url")
            return await self._decode(Job(media, url, sampling, resizing), requester, timing), timing
        async with AsyncExitStack() as held:
            with timing.measure("fetch"):
                data = await held.enter_async_context(self._fetcher.fetch(url, requester))
            metrics.MEDIA_BYTES.labels(media).inc(len(data))
            return await self._decode(Job(media, data, sampling, resizing), requester, timing), timing

    async def _decode(self, job: Job, requester: Requester, timing: RequestTiming) -> DecodedMedia:
        started = time.monotonic()
        decoded = await self._pool.decode(job, requester)
        result, now = decoded.result, time.monotonic()
        for phase, intervals in result.intervals.items():
            for start, end in intervals:
                timing.add(phase, min(max(start, started), now), min(max(end, started), now))
        if job.media != "size":  # the image is loaded afterwards
            metrics.MEDIA_BYTES.labels(job.media).inc(result.data_url_bytes)
            metrics.MEDIA_PIXELS.labels(job.media).inc(result.pixels)
        if job.media == "video":
            metrics.VIDEO_FRAMES.inc(result.views)
        return decoded


def _size(decoded: DecodedMedia, param: str) -> tuple[int, int]:
    if decoded.result.size is None:
        raise MediaError("the image is damaged: its decoder gave up", param=f"{param}.url")
    width, height = decoded.result.size
    return width, height
