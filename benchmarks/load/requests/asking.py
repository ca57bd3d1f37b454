"""Requests that ask about the demo's scenes, whose right answers are known."""

import random
from dataclasses import dataclass

from llava_interleave_serve.benchmarks.load.requests import probes, writing
from llava_interleave_serve.benchmarks.load.requests.images import Drawn, Picture
from llava_interleave_serve.benchmarks.load.requests.media_source import Supply
from llava_interleave_serve.benchmarks.load.requests.messages import Frames, Image, Part, Turn, Video, Views
from llava_interleave_serve.benchmarks.load.requests.probes import Probe
from llava_interleave_serve.benchmarks.load.requests.videos import MadeClip
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass
from llava_interleave_serve.demo.scenes.drawing import Scene


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about scenes, the picture of each scene, and the request."""

    probe: Probe
    pictures: dict[Scene, Picture]
    turns: tuple[Turn, ...]


class Asking:
    """Makes the conversations of a class that asks."""

    def __init__(self, kind: RequestClass, rng: random.Random) -> None:
        self.kind, self.rng = kind, rng
        self.family = kind.ask or ""
        self.supply = Supply(kind.media, rng)

    def new(self) -> Asked:
        """New scenes, a new question."""
        lengths = self.kind.media.clip_frames if self.kind.kind == "video" else self.kind.visuals
        probe = probes.make(self.family, self.rng, self.rng.choice(lengths))
        size = self.supply.size()  # one for all, as of one camera or one video
        if self.kind.kind == "video":
            clip = MadeClip(tuple(Drawn(scene, *size) for scene in probe.scenes), self.kind.media.clip_fps)
            video = Video(clip, self.rng.choice(self.kind.visuals), self.kind.pooling_fields)
            return Asked(probe, {}, self._turns((video,), probe))
        pictures = {scene: self.supply.encoded(Drawn(scene, *size)) for scene in probe.scenes}
        return Asked(probe, pictures, self._turns(self._visuals(probe, pictures), probe))

    def again(self, earlier: Asked, repeat: str) -> Asked:
        """The same question about the same pictures; if `order`, in another, with the answer that is right so."""
        if repeat == "exact":
            return earlier
        probe = probes.reordered(self.family, earlier.probe, self.rng)
        return Asked(probe, earlier.pictures, self._turns(self._visuals(probe, earlier.pictures), probe))

    def _visuals(self, probe: Probe, pictures: dict[Scene, Picture]) -> tuple[Part, ...]:
        shown, options = tuple(pictures[scene] for scene in probe.scenes), self.kind.pooling_fields
        match self.kind.kind:
            case "frames":
                return (Frames(shown, options),)
            case "views":
                return (Views(shown, probe.names, options),)
            case _:
                return tuple(Image(picture, options) for picture in shown)

    def _turns(self, visuals: tuple[Part, ...], probe: Probe) -> tuple[Turn, ...]:
        return writing.turns(self.kind, self.rng, visuals, (probe.question,), probe.right)
