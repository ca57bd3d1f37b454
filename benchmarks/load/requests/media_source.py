"""The visuals that requests of one class show: new ones each time, from the class's source."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from llava_interleave_serve.benchmarks.load.requests import images, videos
from llava_interleave_serve.benchmarks.load.requests.images import Drawn, Encoded, Noise, Picture, Pixels
from llava_interleave_serve.benchmarks.load.requests.videos import Clip, MadeClip
from llava_interleave_serve.benchmarks.load.workload.media import Media
from llava_interleave_serve.benchmarks.load.workload.schema import WorkloadError

LOOP = 64  # frames after which a video of scenes begins again


@dataclass
class Supply:
    """Draws pictures, frames and clips by `rng`. Raises WorkloadError if the folder holds none of what is wanted."""

    media: Media
    rng: random.Random
    _files: list[Picture] = field(default_factory=list)
    _clips: list[Clip] = field(default_factory=list)

    def pictures(self, number: int) -> tuple[Picture, ...]:
        """Images or views, each of a size and format of its own."""
        if self.media.source == "folder":
            return tuple(self.rng.choices(self._folder(), k=number))
        return tuple(self.encoded(self._pixels()) for _ in range(number))

    def encoded(self, pixels: Pixels) -> Picture:
        return Encoded(pixels, self.rng.choice(self.media.formats), self.media.quality)

    def size(self) -> tuple[int, int]:
        return self.rng.choice(self.media.sizes)

    def _pixels(self) -> Pixels:
        width, height = self.size()
        if self.media.source == "noise":
            return Noise(self.rng.getrandbits(48), width, height)
        from llava_interleave_serve.demo.scenes import drawing, questions  # noqa: PLC0415 - brings torch

        return Drawn(drawing.compose(self.rng, questions.some_kinds(self.rng, 3)), width, height)

    def video(self) -> int:
        """A number that stands for a new video, whose frames `window` gives."""
        if self.media.source == "folder":
            return self.rng.randrange(len(self._folder()))
        return self.rng.getrandbits(48)

    def window(self, video: int, start: int, number: int) -> tuple[Picture, ...]:
        """`number` frames of a video, from frame `start` on; of a folder, its pictures in the order of their names."""
        if self.media.source == "folder":
            files = self._folder()
            return tuple(files[(video + start + at) % len(files)] for at in range(number))
        kind = random.Random(video).choice(self.media.formats)
        return tuple(Encoded(one, kind, self.media.quality) for one in self._frames(video, start, number))

    def _frames(self, video: int, start: int, number: int) -> Iterator[Pixels]:
        rng = random.Random(video)
        width, height = rng.choice(self.media.sizes)
        if self.media.source == "noise":
            return (Noise(video, width, height, at) for at in range(start, start + number))
        from llava_interleave_serve.demo.scenes import drawing  # noqa: PLC0415

        kind, direction = rng.choice(drawing.KINDS), rng.choice(tuple(drawing.DIRECTIONS))
        loop = drawing.moving(rng, kind, direction, LOOP)
        return (Drawn(loop[at % LOOP], width, height) for at in range(start, start + number))

    def clip(self) -> Clip:
        """A video file."""
        if self.media.source == "folder":
            if not self._clips:
                self._clips = list(videos.in_folder(self.media.folder))
            if not self._clips:
                raise WorkloadError(f"media.folder: no video in {self.media.folder}")
            return self.rng.choice(self._clips)
        frames = self._frames(self.video(), 0, self.rng.choice(self.media.clip_frames))
        return MadeClip(tuple(frames), self.media.clip_fps)

    def _folder(self) -> list[Picture]:
        if not self._files:
            self._files = list(images.in_folder(self.media.folder))
        if not self._files:
            raise WorkloadError(f"media.folder: no picture in {self.media.folder}")
        return self._files
