"""Runs the jobs of one decode process: from a file, or a data URL, to views in memory that the server gave."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.data_url import decode_data_url
from llava_interleave_serve.server.media.decoding.memory_file import MemoryFile
from llava_interleave_serve.server.media.image.decode import decode_image, read_size
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.video.sampling import Sampling
from llava_interleave_serve.server.observability.timing import RequestTiming

if TYPE_CHECKING:
    from llava_interleave_serve.server.media.video.video_readers import VideoReader

NO_VIEWS = np.empty(0, np.uint8)


class JobRunner:
    """Runs one job after another. The video of the last one stays open, for other questions about it."""

    def __init__(self, settings: dict[str, Any], source: int, room: int, ask: Callable[[int, int], None]) -> None:
        """Takes the settings that worker.py sends, and the descriptors of the source and of the room for views.

        ask: called with the pixels of a picture and the number of such pictures, before they are decoded.
        """
        self._limits = Limits(**settings["limits"])
        size, scales_jpegs, any_resolution = settings["image_size"], settings["scales_jpegs"], None
        if settings["resolutions"]:
            any_resolution = AnyResolution(tuple(map(tuple, settings["resolutions"])), size, grid=1)
        self._resize = SquareResize(size, scales_jpegs, any_resolution, settings["drops_alpha"])
        self._video_reader = settings["video_reader"]
        self._ask = ask
        self._pixels = self._approved = self._media_bytes = 0
        self._reader: VideoReader | None = None
        self._file: MemoryFile | None = None  # of the video that is open
        self._digest = ""
        self._source, self._room = MemoryFile(source), MemoryFile(room)

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Runs a job; returns the reply.

        The job has `media`, "image", "size" (of an image) or "video"; `source_bytes`, the source's size; `is_url`, true
        if the source is a data URL; of an image `resizing`, how its views are made; of a video also `sampling`, the
        arguments of Sampling, and `digest`, by which it is known if it comes again.
        """
        timing, self._pixels, self._approved, self._media_bytes = RequestTiming(), 0, 0, 0
        try:
            described: dict[str, Any] = {}
            views = NO_VIEWS
            if job["media"] == "video":
                views, described = self._decode_video(job, timing)
            else:
                self.close_video()
                data = self._read(job, timing)
                if job["media"] == "size":
                    described["size"] = read_size(data, self._limits)
                else:
                    views, *described["size"] = decode_image(
                        data, self._resize, self._limits, timing, self._approve, job["resizing"]
                    )
            self._room.write(views.data.cast("B"))
        except RequestError as refusal:
            return {"error": type(refusal).__name__, "message": refusal.message, "param": refusal.param}
        except MemoryError:
            return {"error": "MemoryError", "message": "", "param": None}
        return {
            "views": len(views),
            "pixels": self._pixels,
            "data_url_bytes": self._media_bytes,
            "intervals": timing.intervals(),
            **described,
        }

    def close_video(self) -> None:
        """Closes the video of the last job, whose decoder keeps frames at full size."""
        self._reader, self._digest = None, ""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _decode_video(self, job: dict[str, Any], timing: RequestTiming) -> tuple[np.ndarray, dict[str, Any]]:
        from llava_interleave_serve.server.media.video.decode import decode_video  # noqa: PLC0415 - imports ffmpeg

        if job["digest"] != self._digest or self._reader is None:
            self.close_video()  # frees the last video first
            self._reader = self._open_video(job, timing)
            self._digest = job["digest"]
        sampling = Sampling(**job["sampling"])
        video = decode_video(self._reader, sampling, self._resize, self._limits, timing, self._approve)
        described = {field.name: getattr(video, field.name) for field in dataclasses.fields(video)}
        views = described.pop("frames")
        return views, {"video": described}

    def _open_video(self, job: dict[str, Any], timing: RequestTiming) -> "VideoReader":
        from llava_interleave_serve.server.media.video.decode import open_video  # noqa: PLC0415 - imports ffmpeg

        content = self._read(job, timing)
        self._file = MemoryFile()  # of its own, since the source's is written again while the video is open
        self._file.write(content)
        del content
        with timing.measure("decode"):
            return open_video(self._file.fd, self._limits, self._video_reader)

    def _read(self, job: dict[str, Any], timing: RequestTiming) -> bytes:
        """The bytes of the file, or those that the data URL has."""
        data = self._source.read(job["source_bytes"])
        if not job["is_url"]:
            return data
        with timing.measure("fetch"):
            kind = "video" if job["media"] == "video" else "image"
            content = decode_data_url(data, kind, self._limits.max_media_bytes)
        self._media_bytes = len(content)
        return content

    def _approve(self, pixels: int, pictures: int) -> None:
        self._ask(pixels, pictures)
        self._pixels += (pixels - self._approved) * pictures  # the pictures left have been counted at the size before
        self._approved = pixels
