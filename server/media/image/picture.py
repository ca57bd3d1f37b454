"""A decoded picture."""

from typing import NamedTuple

import numpy as np


class Picture(NamedTuple):
    """A picture as the model sees it.

    Attributes:
        views: uint8 [n, S, S, 3], RGB.
        width: of the picture as a viewer would show it, in pixels.
        height: of the picture as a viewer would show it, in pixels.

    """

    views: np.ndarray
    width: int
    height: int
