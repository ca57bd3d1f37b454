"""What is sent: classes of requests with weights, shapes, repetition and targets, as a TOML file describes them."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llava_interleave_serve.benchmarks.load.workload.strict import (
    WorkloadError,
    array,
    boolean,
    choices,
    number,
    one_of,
    reads,
    size,
    table,
    text,
    whole,
)

PRESETS = Path(__file__).resolve().parent / "presets"
KINDS = ("text", "images", "video", "frames", "views")
# The questions of the demo's families, each with the kinds of request that can ask it. The right answer to those in
# ORDERED depends on where a visual stands.
ASKED_BY = {
    "describe": ("images",),
    "which": ("images",),
    "count": ("images",),
    "change": ("images",),
    "camera": ("views",),
    "first": ("video", "frames"),
    "last": ("video", "frames"),
    "motion": ("video", "frames"),
}
ORDERED = frozenset({"which", "change", "camera", "first", "last", "motion"})
MAX_VIEWS_ASKED = 6  # the cameras that the demo has names for


@dataclass(frozen=True, slots=True)
class Media:
    """Where pictures come from and how they are encoded. Files of a folder are sent as they are."""

    source: str = field(default="noise", metadata=reads(one_of(("noise", "scenes", "folder"))))
    folder: str = field(default="", metadata=reads(text))
    sizes: tuple[tuple[int, int], ...] = field(default=((640, 480),), metadata=reads(array(size)))
    formats: tuple[str, ...] = field(default=("jpeg",), metadata=reads(array(one_of(("jpeg", "png", "webp")))))
    quality: int = field(default=85, metadata=reads(whole(1)))
    clip_frames: tuple[int, ...] = field(default=(64,), metadata=reads(choices(2)))
    clip_fps: float = field(default=8.0, metadata=reads(number(above=True)))

    def __post_init__(self) -> None:
        if (self.source == "folder") != bool(self.folder):
            raise WorkloadError('media.folder goes with source = "folder", and that with a folder')
        if self.folder and not Path(self.folder).is_dir():
            raise WorkloadError(f"media.folder: {self.folder} is not a folder")


@dataclass(frozen=True, slots=True)
class Repeat:
    """The shares of a class's requests that go back to media of an earlier one; the rest shows new media.

    exact: the same request; question: the same media, a new question; order: the same visuals in another order;
    sliding: a window over the same video, `slide` frames further on.
    """

    exact: float = field(default=0.0, metadata=reads(number(0, 1)))
    question: float = field(default=0.0, metadata=reads(number(0, 1)))
    order: float = field(default=0.0, metadata=reads(number(0, 1)))
    sliding: float = field(default=0.0, metadata=reads(number(0, 1)))
    slide: int = field(default=4, metadata=reads(whole(1)))

    @property
    def shares(self) -> dict[str, float]:
        return {"exact": self.exact, "question": self.question, "order": self.order, "sliding": self.sliding}

    def __post_init__(self) -> None:
        if sum(self.shares.values()) > 1 + 1e-9:
            raise WorkloadError(f"the shares add up to {sum(self.shares.values()):g}, more than 1")


@dataclass(frozen=True, slots=True)
class Target:
    """What a request must keep to be good, in seconds; `share`: of the class's requests, how many must be good.

    ttft: first token; itl: its longest gap between tokens; tpot: its mean time per further token; e2e: its end.
    """

    ttft: float | None = field(default=None, metadata=reads(number(above=True)))
    itl: float | None = field(default=None, metadata=reads(number(above=True)))
    tpot: float | None = field(default=None, metadata=reads(number(above=True)))
    e2e: float | None = field(default=None, metadata=reads(number(above=True)))
    share: float = field(default=0.95, metadata=reads(number(0, 1, above=True)))

    @property
    def limits(self) -> dict[str, float]:
        """The measures that have a limit, in seconds."""
        measures = {"ttft": self.ttft, "itl": self.itl, "tpot": self.tpot, "e2e": self.e2e}
        return {name: limit for name, limit in measures.items() if limit is not None}


@dataclass(frozen=True, slots=True)
class RequestClass:
    """One kind of request. Numbers with several values are drawn from, evenly."""

    name: str = field(metadata=reads(text))
    kind: str = field(metadata=reads(one_of(KINDS)))
    weight: float = field(default=1.0, metadata=reads(number(above=True)))
    visuals: tuple[int, ...] = field(default=(1,), metadata=reads(choices()))
    placement: str = field(default="front", metadata=reads(one_of(("front", "alternating", "random"))))
    turns: tuple[int, ...] = field(default=(1,), metadata=reads(choices()))
    think: float = field(default=2.0, metadata=reads(number()))
    prompt_words: tuple[int, ...] = field(default=(20,), metadata=reads(choices()))
    answer_tokens: tuple[int, ...] = field(default=(64,), metadata=reads(choices()))
    ignore_eos: bool = field(default=False, metadata=reads(boolean))
    pooling: str | None = field(default=None, metadata=reads(one_of(("none", "average", "max", "bilinear"))))
    pool_stride: int | None = field(default=None, metadata=reads(whole(2)))
    ask: str | None = field(default=None, metadata=reads(one_of(ASKED_BY)))
    repeat: Repeat = field(default=Repeat(), metadata=reads(table(Repeat)))
    target: Target = field(default=Target(), metadata=reads(table(Target)))
    media: Media = field(default=Media(), metadata=reads(table(Media)))

    @property
    def options(self) -> dict[str, Any]:
        """What stands beside `url` in each part."""
        options = {"pooling": self.pooling, "pool_stride": self.pool_stride}
        return {name: value for name, value in options.items() if value is not None}

    def __post_init__(self) -> None:  # noqa: C901 - one line a rule
        if self.kind == "text" and (self.visuals != (1,) or self.repeat.order or self.options):
            raise WorkloadError("a class of text has no visuals, order or pooling")
        if self.kind != "images" and self.placement != "front":
            raise WorkloadError(f'placement = "{self.placement}" is for images, not for {self.kind}')
        if self.repeat.sliding and self.kind != "frames":
            raise WorkloadError(f'repeat.sliding is for kind = "frames", not for {self.kind}')
        if self.repeat.order and self.kind not in ("images", "views"):
            raise WorkloadError(f"repeat.order is for images and views, not for {self.kind}")
        if self.media.source == "folder" and self.kind == "text":
            raise WorkloadError("a class of text shows no folder")
        if self.ask is None:
            return
        if self.kind not in ASKED_BY[self.ask]:
            raise WorkloadError(f'ask = "{self.ask}" is for {" and ".join(ASKED_BY[self.ask])}, not for {self.kind}')
        if self.repeat.question or self.repeat.sliding or max(self.turns) > 1:
            raise WorkloadError("a class that asks has one turn, and repeats exactly or in another order")
        if self.repeat.order and self.ask not in ("which", "camera"):
            raise WorkloadError("repeat.order of a class that asks is for which and camera")
        if self.kind == "views" and not 2 <= min(self.visuals) <= max(self.visuals) <= MAX_VIEWS_ASKED:
            raise WorkloadError(f'ask = "camera" needs 2 to {MAX_VIEWS_ASKED} visuals')
        if self.ask == "which" and not 2 <= min(self.visuals) <= max(self.visuals) <= 8:
            raise WorkloadError('ask = "which" needs 2 to 8 visuals')
        if self.ask in ("describe", "count", "change") and max(self.visuals) > 8:
            raise WorkloadError(f'ask = "{self.ask}" needs at most 8 visuals')
        if self.kind in ("video", "frames") and min(self.visuals) < 3:
            raise WorkloadError(f'ask = "{self.ask}" needs 3 frames or more')


@dataclass(frozen=True, slots=True)
class Workload:
    """Classes of requests, one of which each arrival draws by weight, all from one seed."""

    name: str = field(metadata=reads(text))
    classes: tuple[RequestClass, ...] = field(metadata=reads(array(table(RequestClass))))
    description: str = field(default="", metadata=reads(text))
    seed: int = field(default=0, metadata=reads(whole()))

    def __post_init__(self) -> None:
        names = [one.name for one in self.classes]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise WorkloadError(f"two classes have the name {min(twice)!r}")

    def named(self, name: str) -> RequestClass:
        """The class of that name. Raises WorkloadError."""
        for one in self.classes:
            if one.name == name:
                return one
        raise WorkloadError(f"there is no class {name!r} in workload {self.name!r}")


def preset_names() -> list[str]:
    return sorted(file.stem for file in PRESETS.glob("*.toml"))


def load(name: str) -> Workload:
    """The workload of a preset's name or of a file. Raises WorkloadError."""
    file = PRESETS / f"{name}.toml" if name in preset_names() else Path(name)
    try:
        content = tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise WorkloadError(f"{name} is neither a file nor a preset ({', '.join(preset_names())})") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WorkloadError(f"{name}: {error}") from None
    return parse(content)


def parse(content: dict[str, Any]) -> Workload:
    """A decoded workload file. What its `media` table says holds for every class that does not say otherwise."""
    content = dict(content)
    common = content.pop("media", {})
    if not isinstance(common, dict):
        raise WorkloadError(f"media: expected a table, not {common!r}")
    classes = content.get("classes")
    if isinstance(classes, list):
        content["classes"] = [_with_media(common, one) if isinstance(one, dict) else one for one in classes]
    return table(Workload)(content, "")


def _with_media(common: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    own = one.get("media", {})
    if one.get("kind") == "text" and not own:
        return one
    return one | {"media": common | own} if isinstance(own, dict) else one
