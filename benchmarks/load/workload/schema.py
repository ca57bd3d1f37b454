"""The workload file: classes of requests with weights, shapes, repetition and targets, in TOML.

`python -m llava_interleave_serve.benchmarks.load.workload.schema` prints its JSON schema, which workload.schema.json
holds for editors that complete TOML.
"""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from llava_interleave_serve.benchmarks.load.workload.media import Media, SharedMedia
from llava_interleave_serve.benchmarks.load.workload.values import (
    Count,
    Counts,
    Flag,
    NotNegative,
    Positive,
    PositiveShare,
    Seed,
    Share,
    Table,
    Text,
    TomlSchema,
    TwoOrMore,
    as_tuple,
    one_of,
)
from llava_interleave_serve.benchmarks.openai_api.content_parts import PoolingMode

PRESETS = Path(__file__).resolve().parent / "presets"
Kind = Literal["text", "images", "video", "frames", "views"]
Family = Literal["describe", "which", "count", "change", "camera", "first", "last", "motion"]
# The kind of request that can ask a question of each of the demo's families.
KINDS_THAT_ASK: dict[Family, tuple[Kind, ...]] = {
    "describe": ("images",),
    "which": ("images",),
    "count": ("images",),
    "change": ("images",),
    "camera": ("views",),
    "first": ("video", "frames"),
    "last": ("video", "frames"),
    "motion": ("video", "frames"),
}
# The families whose right answer depends on the position of a visual in the request.
ORDER_MATTERS = frozenset({"which", "change", "camera", "first", "last", "motion"})
MAX_VIEWS_ASKED = 6  # the cameras that the demo has names for
MAX_IMAGES_ASKED = 8  # the ordinals that the demo's questions know
MIN_FRAMES_ASKED = 3


class WorkloadError(ValueError):
    """A workload file that cannot be used; the message names the key at fault and what was expected."""


Placement = Literal["front", "alternating", "random"]


class Repeat(Table):
    """The shares of a class's requests that show the media of an earlier one; the rest shows new media."""

    exact: Share = 0.0
    """Share that is an earlier request once more."""
    question: Share = 0.0
    """Share with the media of an earlier request and a new question."""
    order: Share = 0.0
    """Share with the visuals of an earlier request in another order."""
    sliding: Share = 0.0
    """Share with a window over the video of an earlier request, `slide` frames further on."""
    slide: Count = 4
    """Frames that a sliding window moves."""

    @property
    def shares(self) -> dict[str, float]:
        """The share of each way to repeat a request."""
        return {"exact": self.exact, "question": self.question, "order": self.order, "sliding": self.sliding}

    @model_validator(mode="after")
    def _shares_of_a_whole(self) -> Self:
        if sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError(f"the shares add up to {sum(self.shares.values()):g}, more than 1")
        return self


class Target(Table):
    """The latencies, in seconds, within which an answered request is good."""

    ttft: Positive | None = None
    """Time to first token."""
    itl: Positive | None = None
    """Longest gap between two tokens."""
    tpot: Positive | None = None
    """Mean time per further token."""
    e2e: Positive | None = None
    """Time to the end of the answer."""
    share: PositiveShare = 0.95
    """Share of the class's requests that must be good."""

    @property
    def limits(self) -> dict[str, float]:
        """The measures that have a limit, in seconds."""
        measures = {"ttft": self.ttft, "itl": self.itl, "tpot": self.tpot, "e2e": self.e2e}
        return {name: limit for name, limit in measures.items() if limit is not None}


class RequestClass(Table):
    """One kind of request. Of several numbers, each request draws one, all alike."""

    name: Text
    """Name of the class in reports and traces."""
    kind: Annotated[Kind, one_of(Kind)]
    """text; images; video: a file; frames: of a video, sampled by the client; views: of named cameras."""
    weight: Positive = 1.0
    """Weight in the draw of each arrival's class."""
    visuals: Counts = (1,)
    """Images, views, or frames of the video: a number, a list, or a range such as "2-16"."""
    placement: Annotated[Placement, one_of(Placement)] = "front"
    """Images in front of the text, one after each equal piece of it, or anywhere between its words."""
    turns: Counts = (1,)
    """Requests of a conversation; those after the first ask further about its media."""
    think: NotNegative = 2.0
    """Seconds between the turns of a conversation."""
    prompt_words: Counts = (20,)
    """Words of each question."""
    answer_tokens: Counts = (64,)
    """Most tokens of each answer."""
    ignore_eos: Flag = False
    """True if answers have exactly `answer_tokens` tokens."""
    pooling: Annotated[PoolingMode, one_of(PoolingMode)] | None = None
    """Pooling of the tokens of each visual; the server's default if absent."""
    pool_stride: TwoOrMore | None = None
    """Patches a side that are pooled into one token."""
    ask: Annotated[Family, one_of(Family)] | None = None
    """A question of the demo's about its scenes, whose right answer is known; excludes `prompt_words`, `source`."""
    repeat: Repeat = Repeat()
    target: Target = Target()
    media: Media = Media()

    @property
    def pooling_fields(self) -> dict[str, Any]:
        """The pooling as this project's API takes it, beside `url` in each content part."""
        fields = {"pooling": self.pooling, "pool_stride": self.pool_stride}
        return {name: value for name, value in fields.items() if value is not None}

    @model_validator(mode="after")
    def _fields_that_go_together(self) -> Self:
        _check_kind(self)
        if self.ask is not None:
            _check_question(self, self.ask)
            _check_visuals_asked(self, self.ask)
        return self


def _check_kind(request_class: RequestClass) -> None:
    """Raises ValueError for a field that requests of this kind have no use for."""
    if request_class.kind == "text" and (
        request_class.visuals != (1,) or request_class.repeat.order or request_class.pooling_fields
    ):
        raise ValueError("a class of text has no visuals, order or pooling")
    if request_class.kind != "images" and request_class.placement != "front":
        raise ValueError(f'placement = "{request_class.placement}" is for images, not for {request_class.kind}')
    if request_class.repeat.sliding and request_class.kind != "frames":
        raise ValueError(f'repeat.sliding is for kind = "frames", not for {request_class.kind}')
    if request_class.repeat.order and request_class.kind not in ("images", "views"):
        raise ValueError(f"repeat.order is for images and views, not for {request_class.kind}")
    if request_class.media.source == "folder" and request_class.kind == "text":
        raise ValueError("a class of text shows no folder")


def _check_question(request_class: RequestClass, family: Family) -> None:
    """Raises ValueError if the class cannot ask questions of the family, or not as often as it says."""
    if request_class.kind not in KINDS_THAT_ASK[family]:
        raise ValueError(
            f'ask = "{family}" is for {" and ".join(KINDS_THAT_ASK[family])}, not for {request_class.kind}'
        )
    if request_class.repeat.question or request_class.repeat.sliding or max(request_class.turns) > 1:
        raise ValueError("a class that asks has one turn, and repeats exactly or in another order")
    if request_class.repeat.order and family not in ("which", "camera"):
        raise ValueError("repeat.order of a class that asks is for which and camera")
    if "prompt_words" in request_class.model_fields_set:
        raise ValueError("a class that asks has no prompt_words: its questions are the demo's")
    if "source" in request_class.media.model_fields_set and request_class.media.source != "scenes":
        raise ValueError(f'a class that asks shows scenes, and not media.source = "{request_class.media.source}"')


def _check_visuals_asked(request_class: RequestClass, family: Family) -> None:
    """Raises ValueError for a number of visuals about which the family has no question."""
    fewest, most = min(request_class.visuals), max(request_class.visuals)
    if request_class.kind == "views" and not 2 <= fewest <= most <= MAX_VIEWS_ASKED:
        raise ValueError(f'ask = "camera" needs 2 to {MAX_VIEWS_ASKED} visuals')
    if family == "change" and "visuals" in request_class.model_fields_set and request_class.visuals != (2,):
        raise ValueError('ask = "change" needs 2 visuals')
    if family == "which" and not 2 <= fewest <= most <= MAX_IMAGES_ASKED:
        raise ValueError(f'ask = "which" needs 2 to {MAX_IMAGES_ASKED} visuals')
    if family in ("describe", "count") and most > MAX_IMAGES_ASKED:
        raise ValueError(f'ask = "{family}" needs at most {MAX_IMAGES_ASKED} visuals')
    if request_class.kind in ("video", "frames") and fewest < MIN_FRAMES_ASKED:
        raise ValueError(f'ask = "{family}" needs {MIN_FRAMES_ASKED} frames or more')


class Workload(Table):
    """Classes of requests, one of which each arrival draws by weight, all from one seed."""

    name: Text
    description: Text = ""
    seed: Seed = 0
    """Seed of media, text and arrivals."""
    media: SharedMedia = SharedMedia()
    classes: Annotated[tuple[RequestClass, ...], Field(min_length=1), BeforeValidator(as_tuple)]

    @model_validator(mode="before")
    @classmethod
    def _share_media(cls, content: Any) -> Any:
        """Completes the media of each class by those that the file gives for all; the source not of one that asks."""
        if not isinstance(content, dict):
            return content
        shared, classes = content.get("media"), content.get("classes")
        if not isinstance(shared, dict) or not isinstance(classes, list):
            return content
        return content | {"classes": [_with_media(shared, table) for table in classes]}

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [request_class.name for request_class in self.classes]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(f"two classes have the name {min(repeated)!r}")
        return self

    def class_named(self, name: str) -> RequestClass:
        """The class of that name. Raises WorkloadError if there is none."""
        for request_class in self.classes:
            if request_class.name == name:
                return request_class
        raise WorkloadError(f"there is no class {name!r} in workload {self.name!r}")


def _with_media(shared: dict[str, Any], table: Any) -> Any:
    """A class's table with the shared media, except for those that it gives itself; as it is if it can have none."""
    own = table.get("media", {}) if isinstance(table, dict) else None
    if not isinstance(own, dict) or (table.get("kind") == "text" and not own):
        return table
    if table.get("ask") is not None:  # about scenes, wherever the media of the others come from
        shared = {key: value for key, value in shared.items() if key not in ("source", "folder")}
    return table | {"media": shared | own}


def preset_names() -> list[str]:
    """The names of the workloads that come with the load test, sorted."""
    return sorted(file.stem for file in PRESETS.glob("*.toml"))


def load(name: str) -> Workload:
    """Reads the preset of that name, or the file. Raises WorkloadError."""
    file = PRESETS / f"{name}.toml" if name in preset_names() else Path(name)
    try:
        content = tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise WorkloadError(f"{name} is neither a file nor a preset ({', '.join(preset_names())})") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WorkloadError(f"{name}: {error}") from None
    return parse(content)


def parse(content: dict[str, Any]) -> Workload:
    """Checks the content of a workload file. Raises WorkloadError for the first fault, with the path of its key."""
    try:
        return Workload.model_validate(content)
    except ValidationError as error:
        raise WorkloadError(_first_fault(error)) from None


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    context = fault.get("ctx", {})
    keys = (*fault["loc"], context["key"]) if fault["type"] == "unknown_key" else fault["loc"]
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
    if fault["type"] == "missing":
        return f"{path} is missing"
    message = str(context.get("error", fault["msg"]))
    return f"{path}: {message}" if path else message


def json_schema() -> str:
    """The JSON schema of workload files, as text."""
    return json.dumps(Workload.model_json_schema(schema_generator=TomlSchema), indent=1) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
