"""The source of a class's visuals: new ones for each request, as the class's media table describes them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from llava_interleave_serve.benchmarks.load.requests import images, videos
from llava_interleave_serve.benchmarks.load.requests.images import Encoded, Noise, Picture, Pixels, SceneDrawing
from llava_interleave_serve.benchmarks.load.requests.videos import Clip, GeneratedClip
from llava_interleave_serve.benchmarks.load.workload.media import Media
from llava_interleave_serve.benchmarks.load.workload.schema import WorkloadError

LOOP = 64  # frames after which a video of scenes begins again
MOST_THINGS = 3  # different shapes in a scene that no question asks about


@dataclass
class MediaSource:
    """Makes pictures, frames and clips at random. Raises WorkloadError if the folder holds none of those needed."""

    media: Media
    rng: random.Random
    _picture_files: list[Picture] = field(default_factory=list)
    _clip_files: list[Clip] = field(default_factory=list)

    def pictures(self, number: int) -> tuple[Picture, ...]:
        """Images or views, each of a size and format of its own."""
        if self.media.source == "folder":
            return tuple(self.rng.choices(self._pictures_of_folder(), k=number))
        return tuple(self.encode(self._pixels()) for _ in range(number))

    def encode(self, pixels: Pixels) -> Picture:
        """The pixels as a file of one of the formats."""
        return Encoded(pixels, self.rng.choice(self.media.formats), self.media.quality)

    def size(self) -> tuple[int, int]:
        """One of the sizes: width and height in pixels."""
        return self.rng.choice(self.media.sizes)

    def _pixels(self) -> Pixels:
        width, height = self.size()
        if self.media.source == "noise":
            return Noise(self.rng.getrandbits(48), width, height)
        from llava_interleave_serve.demo.scenes import composing, drawing  # noqa: PLC0415 - brings torch

        kinds = self.rng.sample(drawing.KINDS, self.rng.randint(1, MOST_THINGS))
        return SceneDrawing(composing.PLAIN.compose(self.rng, kinds), width, height)

    def video(self) -> int:
        """The identifier of a new video, whose frames `window` gives."""
        if self.media.source == "folder":
            return self.rng.randrange(len(self._pictures_of_folder()))
        return self.rng.getrandbits(48)

    def window(self, video: int, start: int, number: int) -> tuple[Picture, ...]:
        """The `number` frames of a video from index `start` on; of a folder, its pictures in the order of their names.

        A folder's pictures are one video that never ends; the identifier says with which picture it begins.
        """
        if self.media.source == "folder":
            files = self._pictures_of_folder()
            return tuple(files[(video + start + index) % len(files)] for index in range(number))
        image_format = random.Random(video).choice(self.media.formats)
        return tuple(Encoded(pixels, image_format, self.media.quality) for pixels in self._frames(video, start, number))

    def _frames(self, video: int, start: int, number: int) -> Iterator[Pixels]:
        rng = random.Random(video)
        width, height = rng.choice(self.media.sizes)
        if self.media.source == "noise":
            return (Noise(video, width, height, index) for index in range(start, start + number))
        from llava_interleave_serve.demo.scenes import drawing  # noqa: PLC0415 - as above
        from llava_interleave_serve.demo.scenes.frames import DIRECTIONS, moving  # noqa: PLC0415

        kind, direction = rng.choice(drawing.KINDS), rng.choice(tuple(DIRECTIONS))
        loop = moving(rng, kind, direction, LOOP)
        return (SceneDrawing(loop[index % LOOP], width, height) for index in range(start, start + number))

    def clip(self) -> Clip:
        """A new video file."""
        if self.media.source == "folder":
            if not self._clip_files:
                self._clip_files = list(videos.files_in(self.media.folder))
            if not self._clip_files:
                raise WorkloadError(f"media.folder: no video in {self.media.folder}")
            return self.rng.choice(self._clip_files)
        frames = self._frames(self.video(), 0, self.rng.choice(self.media.clip_frames))
        return GeneratedClip(tuple(frames), self.media.clip_fps)

    def _pictures_of_folder(self) -> list[Picture]:
        if not self._picture_files:
            self._picture_files = list(images.files_in(self.media.folder))
        if not self._picture_files:
            raise WorkloadError(f"media.folder: no picture in {self.media.folder}")
        return self._picture_files
