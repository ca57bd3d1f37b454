"""Requests that show media and say something: new ones, and the same media again."""

import random
from dataclasses import dataclass, replace

from llava_interleave_serve.benchmarks.load.requests import writing
from llava_interleave_serve.benchmarks.load.requests.media_source import Supply
from llava_interleave_serve.benchmarks.load.requests.messages import Frames, Image, Part, Turn, Video, Views
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a conversation showed and said. A window over a video begins at its frame `start`."""

    visuals: tuple[Part, ...]
    texts: tuple[str, ...]
    turns: tuple[Turn, ...] = ()
    video: int = 0
    start: int = 0


class Showing:
    """Makes the conversations of a class that does not ask about scenes."""

    def __init__(self, kind: RequestClass, rng: random.Random) -> None:
        self.kind, self.rng = kind, rng
        self.supply = Supply(kind.media, rng)

    def new(self) -> Shown:
        """New media, new text."""
        number, options, video = self.rng.choice(self.kind.visuals), self.kind.pooling_fields, 0
        visuals: tuple[Part, ...] = ()
        match self.kind.kind:
            case "images":
                visuals = tuple(Image(picture, options) for picture in self.supply.pictures(number))
            case "views":
                names = tuple(CAMERAS[at] if number <= len(CAMERAS) else f"VIEW_{at + 1}" for at in range(number))
                visuals = (Views(self.supply.pictures(number), names, options),)
            case "frames":
                video = self.supply.video()
                visuals = (Frames(self.supply.window(video, 0, number), options),)
            case "video":
                visuals = (Video(self.supply.clip(), number, options),)
        return self._written(Shown(visuals, writing.questions(self.kind, self.rng), video=video))

    def again(self, earlier: Shown, repeat: str) -> Shown:
        """The earlier conversation once more: `exact`, or with another `question`, or `order`, or `sliding` on."""
        match repeat:
            case "exact":
                return earlier
            case "question":
                return self._written(replace(earlier, texts=writing.questions(self.kind, self.rng)))
            case "order":
                return self._written(replace(earlier, visuals=self._reordered(earlier.visuals)))
            case _:
                start = earlier.start + self.kind.repeat.slide
                number = sum(len(part.pictures) for part in earlier.visuals if isinstance(part, Frames))
                window = Frames(self.supply.window(earlier.video, start, number), self.kind.pooling_fields)
                return self._written(replace(earlier, visuals=(window,), start=start))

    def _written(self, shown: Shown) -> Shown:
        return replace(shown, turns=writing.turns(self.kind, self.rng, shown.visuals, shown.texts))

    def _reordered(self, visuals: tuple[Part, ...]) -> tuple[Part, ...]:
        if len(visuals) == 1 and isinstance(visuals[0], Views):
            views = visuals[0]
            order = self._order(len(views.pictures))
            pictures, names = (tuple(old[at] for at in order) for old in (views.pictures, views.names))
            return (Views(pictures, names, views.options),)  # type: ignore[arg-type]
        return tuple(visuals[at] for at in self._order(len(visuals)))

    def _order(self, number: int) -> list[int]:
        """Another order of so many, if there is one."""
        order = list(range(number))
        while number > 1 and order == sorted(order):
            self.rng.shuffle(order)
        return order
