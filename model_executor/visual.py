"""The visual: what an image, a video frame and a camera view all become.

Shared by the server, which makes visuals, and the model, which encodes them; needs numpy alone.
"""

import math
from dataclasses import dataclass, field

import numpy as np

POOLING_MODES = ("none", "average", "max", "bilinear")
POOLING_STRIDES = (2, 3, 4)


@dataclass(frozen=True, slots=True)
class Pooling:
    """How a visual's square grid of patch features shrinks before the language model reads it.

    Average and max drop the rows and columns that do not fill a window (27 -> 13 at stride 2); bilinear
    resizes to the next whole size (27 -> 14), as `get_2dPool` of the reference implementation does
    (LLaVA-NeXT, llava/model/llava_arch.py).

    Raises ValueError for an unknown mode, or a stride that is not 2, 3 or 4 (1 with mode "none").
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
        """The side of the pooled grid of a visual whose tower gives `grid` x `grid` patches.

        Raises ValueError if nothing would be left.
        """
        side = math.ceil(grid / self.stride) if self.mode == "bilinear" else grid // self.stride
        if side < 1:
            raise ValueError(f"{self.mode} pooling with stride {self.stride} leaves nothing of a {grid}x{grid} grid")
        return side


UNPOOLED = Pooling()


@dataclass(frozen=True, slots=True, eq=False)
class Visual:
    """One image, one video frame or one camera view.

    views: uint8 [v, S, S, 3], RGB; S is the tower's image size. v = 1.
    """

    views: np.ndarray = field(repr=False)
    pooling: Pooling = UNPOOLED

    def __post_init__(self) -> None:
        shape = self.views.shape
        if self.views.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or shape[0] != 1:
            raise ValueError(f"views must be uint8 [1, S, S, 3], not {self.views.dtype} {list(shape)}")

    def num_tokens(self, grid: int) -> int:
        """How many rows of the prefill this visual takes, for a tower of `grid` x `grid` patches."""
        return self.views.shape[0] * self.pooling.side(grid) ** 2
