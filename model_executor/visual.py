"""Visuals: images, video frames and camera views, as the model reads them.

Shared by the server, which makes visuals, and the model, which encodes them; needs numpy alone.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

PoolingMode = Literal["none", "average", "max", "bilinear"]
# Kernels know torch and Triton alone, so `kernels.index_plan` repeats these names and the formula of `Pooling.side`;
# a test holds both equal.
POOLING_MODES: tuple[PoolingMode, ...] = get_args(PoolingMode)
POOLING_STRIDES = (2, 3, 4)


@dataclass(frozen=True, slots=True)
class Pooling:
    """Pooling of a visual's square grid of patch features, before the language model reads them.

    Average and max drop the rows and columns that do not fill a window (27 -> 13 at stride 2); bilinear resizes to the
    next whole size (27 -> 14), as `get_2dPool` of the reference implementation does (LLaVA-NeXT,
    llava/model/llava_arch.py).

    mode: one of POOLING_MODES.
    stride: 1 with mode "none", else one of POOLING_STRIDES.

    Raises ValueError for another mode or stride.
    """

    mode: str = "none"
    stride: int = 1

    def __post_init__(self) -> None:
        if self.mode not in POOLING_MODES:
            raise ValueError(f"pooling must be one of {', '.join(POOLING_MODES)}, not {self.mode!r}")
        strides = (1,) if self.mode == "none" else POOLING_STRIDES
        if self.stride not in strides:
            raise ValueError(
                f"the stride of {self.mode} pooling must be one of {', '.join(map(str, strides))}, not {self.stride!r}"
            )

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
    """One image, one video frame or one camera view.

    views: uint8 [1, S, S, 3], RGB; S is the tower's image size.
    pooling: of its patch features.
    cache_salt: visuals of different ones share no cached encoder outputs, though their pixels are the same.

    Raises ValueError for views of another shape or dtype.
    """

    views: np.ndarray = field(repr=False)
    pooling: Pooling = UNPOOLED
    cache_salt: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        shape = self.views.shape
        if self.views.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or shape[0] != 1:
            raise ValueError(f"views must be uint8 [1, S, S, 3], not {self.views.dtype} {list(shape)}")

    def num_tokens(self, grid: int) -> int:
        """The number of prompt tokens that this visual takes, for a tower of `grid` x `grid` patches.

        Raises ValueError if the pooled grid is empty.
        """
        return self.views.shape[0] * self.pooling.side(grid) ** 2
