"""Visuals: images, video frames and camera views, as the model reads them.

Shared by the server, which makes visuals, and the model, which encodes them; needs numpy alone.

What a server hands to the model, for each way in which the authors of LLaVA-NeXT show something:

* a picture as one view: `Visual(view[None])`, and with `newline="end"` as `eval/model_vqa.py` does;
* a picture through any resolution: `Visual(views, layout=layout)` by `AnyResolution.layout` of its size, and
  the views in the layout's order: the picture squashed to S x S, then the tiles of its canvas row by row;
* a video as one item a frame, with nothing between their placeholders: `Visual(frame[None], pooling, newline)` with the
  newlines of `frame_newlines`.

Which of these a checkpoint has says its `VisualFormat`: `visual_format` of an original's configuration (vLLM's
hf_config), and `VisualFormat()` for the hub's ports.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from llava_interleave_serve.model_executor.any_resolution import AnyResolution, Layout

PoolingMode = Literal["none", "average", "max", "bilinear"]
# Kernels know torch and Triton alone, so `kernels.index_plan` repeats these names and the formula of `Pooling.side`;
# a test holds both equal.
POOLING_MODES: tuple[PoolingMode, ...] = get_args(PoolingMode)
POOLING_STRIDES = (2, 3, 4)
Newline = Literal["none", "row", "end"]
NEWLINES: tuple[Newline, ...] = get_args(Newline)
VideoNewline = Literal["grid", "frame", "one_token", "no_token"]
VIDEO_NEWLINES: tuple[VideoNewline, ...] = get_args(VideoNewline)
Resizing = Literal["squash", "pad", "anyres"]


@dataclass(frozen=True, slots=True)
class Pooling:
    """Pooling of a visual's square grid of patch features, before the language model reads them.

    Average and max drop the rows and columns that do not fill a window (27 -> 13 at stride 2); bilinear resizes to the
    next whole size (27 -> 14), as `get_2dPool` of the reference implementation does (LLaVA-NeXT,
    llava/model/llava_arch.py).

    mode: one of POOLING_MODES.
    stride: 1 with mode "none", else one of POOLING_STRIDES.
    before_projector: pools the tower's features instead of the projector's, as the authors' `llavavid` does where
        `mm_pooling_position` is "before"; for average and max.

    Raises ValueError for another mode or stride, or pooling before the projector in a mode without it.
    """

    mode: str = "none"
    stride: int = 1
    before_projector: bool = False

    def __post_init__(self) -> None:
        if self.mode not in POOLING_MODES:
            raise ValueError(f"pooling must be one of {', '.join(POOLING_MODES)}, not {self.mode!r}")
        strides = (1,) if self.mode == "none" else POOLING_STRIDES
        if self.stride not in strides:
            raise ValueError(
                f"the stride of {self.mode} pooling must be one of {', '.join(map(str, strides))}, not {self.stride!r}"
            )
        if self.before_projector and self.mode not in ("average", "max"):
            raise ValueError(f"pooling before the projector is average or max, not {self.mode}")

    def side(self, grid: int) -> int:
        """The side of the pooled grid, for a tower of `grid` x `grid` patches.

        Raises ValueError if the pooled grid is empty.
        """
        side = math.ceil(grid / self.stride) if self.mode == "bilinear" else grid // self.stride
        if side < 1:
            raise ValueError(f"{self.mode} pooling with stride {self.stride} leaves nothing of a {grid}x{grid} grid")
        return side


UNPOOLED = Pooling()


@dataclass(frozen=True, slots=True, eq=False)
class Visual:
    """One image, one video frame or one camera view; one item of vLLM's, with one hash.

    views: uint8 [n, S, S, 3], RGB; S is the tower's image size. One view, or those of the layout.
    pooling: of the view's patch features; without a layout.
    newline: where the checkpoint's trained newline is put: "row" after each row of the pooled grid, "end" after the
        last row; without a layout, which has its own.
    layout: of a picture through any resolution; None for one view.
    cache_salt: visuals of different ones share no cached encoder outputs, though their pixels are the same.

    Raises ValueError for views of another shape or dtype, or a pooling or newline besides a layout.
    """

    views: np.ndarray = field(repr=False)
    pooling: Pooling = UNPOOLED
    newline: Newline = "none"
    layout: Layout | None = None
    cache_salt: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        shape, count = self.views.shape, 1 if self.layout is None else self.layout.num_views
        if (
            self.views.dtype != np.uint8
            or len(shape) != 4
            or shape[1] != shape[2]
            or shape[3] != 3
            or shape[0] != count
        ):
            raise ValueError(f"views must be uint8 [{count}, S, S, 3], not {self.views.dtype} {list(shape)}")
        if self.newline not in NEWLINES:
            raise ValueError(f"newline must be one of {', '.join(NEWLINES)}, not {self.newline!r}")
        if self.layout is not None and (self.pooling != UNPOOLED or self.newline != "none"):
            raise ValueError("a picture through any resolution has no pooling and no newlines but those of its layout")

    def num_tokens(self, grid: int) -> int:
        """The number of prompt tokens that this visual takes, for a tower of `grid` x `grid` patches.

        Raises ValueError if the pooled grid is empty.
        """
        if self.layout is not None:
            return self.layout.num_tokens
        return view_tokens(self.pooling, self.newline, grid)


def view_tokens(pooling: Pooling, newline: Newline, grid: int) -> int:
    """The number of prompt tokens of one view, newlines included, for a tower of `grid` x `grid` patches.

    Raises ValueError if the pooled grid is empty.
    """
    side = pooling.side(grid)
    newlines: dict[Newline, int] = {"none": 0, "row": side, "end": 1}
    return side**2 + newlines[newline]


def frame_newlines(position: VideoNewline, frames: int) -> list[Newline]:
    """The newline of each of a video's frames, by the authors' `mm_newline_position`.

    Source: LLaVA-NeXT, llava/model/llava_arch.py: "grid" has one after each row of each frame, "frame" one after each
    frame, "one_token" one after the last frame, "no_token" none.
    """
    each: dict[VideoNewline, Newline] = {"grid": "row", "frame": "end", "one_token": "none", "no_token": "none"}
    newlines = [each[position]] * frames
    if position == "one_token" and frames:
        newlines[-1] = "end"
    return newlines


@dataclass(frozen=True, slots=True)
class VisualFormat:
    """How a checkpoint reads pictures and videos, by its configuration.

    Attributes:
        resizing: of a picture, as the authors' `process_images` does it by `image_aspect_ratio`; a video's frames are
            squashed always.
        any_resolution: None if the checkpoint was not trained on it; there where `resizing` is "anyres".
        has_newline: True if there is a trained newline, so that visuals may have a `newline` or a `layout`.
        video_pooling: of a video as one item of the authors' (`modalities=["video"]`), by `mm_spatial_pool_mode`; None
            where the checkpoint has no such mode, and frames are shown as images.
        video_newline: of such a video, by `mm_newline_position`; "no_token" without a trained newline.

    """

    resizing: Resizing = "squash"
    any_resolution: AnyResolution | None = None
    has_newline: bool = False
    video_pooling: Pooling | None = None
    video_newline: VideoNewline = "no_token"
