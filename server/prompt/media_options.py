"""The options of the media parts of a chat request."""

from typing import Annotated, Literal

from pydantic import AfterValidator, FailFast, Field, FiniteFloat, StringConstraints, model_validator

from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling, PoolingMode, Resizing, VideoNewline
from llava_interleave_serve.server.prompt.strict_model import Strict

MOST_IRI = 8192  # characters


def _check_width(url: str) -> str:
    # A long URL holds a picture, as base64. One wide character would have all of it take four bytes a character.
    if len(url) > MOST_IRI and not url.isascii():
        raise ValueError(f"a URL of more than {MOST_IRI} characters must be ASCII")
    return url


Url = Annotated[str, StringConstraints(min_length=1), AfterValidator(_check_width)]
Side = Annotated[int, Field(strict=True, ge=1, le=1 << 31)]  # in pixels; --max-pixels is checked where it is read
DEFAULT_STRIDE = 2


class PoolingOptions(Strict):
    """Pooling of the patch features of each visual of a part; none by default, as the checkpoints were trained."""

    pooling: PoolingMode | None = None
    pool_stride: Literal[2, 3, 4] | None = None

    @model_validator(mode="after")
    def _check_stride(self) -> "PoolingOptions":
        if self.pool_stride is not None and self.pooling in (None, "none"):
            raise ValueError("pool_stride needs pooling to be average, max or bilinear")
        return self

    @property
    def explicit_pooling(self) -> Pooling | None:
        """The pooling of the fields `pooling` and `pool_stride`; None without them."""
        if self.pooling is None:
            return None
        return UNPOOLED if self.pooling == "none" else Pooling(self.pooling, self.pool_stride or DEFAULT_STRIDE)

    @property
    def pinned_pooling(self) -> Pooling | None:
        """The pooling that the client chose by any field; None if it left the choice to the server."""
        return self.explicit_pooling


class NewlineOption(PoolingOptions):
    """Where the checkpoint's trained newline is put: by default as the prompt style has it."""

    newline: VideoNewline | None = None


class ImageUrl(NewlineOption):
    """An image.

    `detail`: `high` is the best that the checkpoint has, any resolution if it was trained on it, unpooled; `low` is one
    view, pooled if the operator says so; `auto`, which is the default, is any resolution for an image that is alone in
    its request. `resizing`: how its views are made, whatever the checkpoint says. `width` and `height`: its size in
    pixels, as it would be shown, from which its tokens follow before it is fetched.
    """

    url: Url
    detail: Literal["low", "auto", "high"] | None = None
    resizing: Resizing | None = None
    width: Side | None = None
    height: Side | None = None

    @model_validator(mode="after")
    def _check_detail(self) -> "ImageUrl":
        if self.detail == "low" and self.pooling is not None:
            raise ValueError("detail 'low' and pooling both say how to pool: send one of them")
        if self.detail is not None and self.resizing is not None:
            raise ValueError("detail and resizing both say how the views are made: send one of them")
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height are one size: send both, or neither")
        return self

    @model_validator(mode="after")
    def _check_views(self) -> "ImageUrl":
        if self.resizing == "anyres":
            if self.pooling not in (None, "none"):
                raise ValueError("an image of any resolution is not pooled: leave out pooling or resizing")
            if self.newline is not None:
                raise ValueError("an image of any resolution has newlines of its own: leave out newline")
        return self

    @property
    def size(self) -> tuple[int, int] | None:
        """The width and height that the client states."""
        return None if self.width is None or self.height is None else (self.width, self.height)

    @property
    def pinned_pooling(self) -> Pooling | None:
        """The pooling that the client chose, by any field but `detail: low`; None if it left the choice to others."""
        return self.explicit_pooling or (UNPOOLED if self.detail in ("auto", "high") else None)


class VideoOptions(NewlineOption):
    """What frames are to the model: `modality` is `image` for frames that are images like others, and `video` for one
    item of the authors' video mode, whose frames are pooled and have nothing between them but newlines.
    """

    modality: Literal["image", "video"] | None = None


class VideoUrl(VideoOptions):
    """A video: `num_frames` are sampled uniformly, or `fps` a second, between `start` and `end` (seconds)."""

    url: Url
    num_frames: Annotated[int, Field(strict=True, ge=1)] | None = None
    fps: Annotated[FiniteFloat, Field(strict=True, gt=0)] | None = None
    start: Annotated[FiniteFloat, Field(strict=True, ge=0)] | None = None
    end: Annotated[FiniteFloat, Field(strict=True, gt=0)] | None = None

    @model_validator(mode="after")
    def _check_sampling(self) -> "VideoUrl":
        if self.num_frames is not None and self.fps is not None:
            raise ValueError("num_frames and fps both say how to sample: send one of them")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("end must be after start")
        return self


class Frame(Strict):
    url: Url


class VideoFrames(VideoOptions):
    """Frames of a video that the client has sampled, in their order and of any sizes."""

    frames: Annotated[list[Frame], FailFast(), Field(min_length=1)]


class View(Strict):
    """The view of one camera. A `name` is put before the view as text."""

    url: Url
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class MultiView(NewlineOption):
    """Views of several cameras at the same moment, in the order given."""

    views: Annotated[list[View], FailFast(), Field(min_length=1)]
    resizing: Literal["squash", "pad"] | None = None


MediaOptions = ImageUrl | VideoUrl | VideoFrames | MultiView
