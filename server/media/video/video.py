"""The sampled frames of a video."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class Video:
    """The sampled frames of a video.

    Attributes:
        frames: views, uint8 [n, S, S, 3], RGB.
        indices: of the n frames, counted in the order in which the video shows them, from 0.
        times: when each of the n frames begins to be shown, in seconds.
        duration: of the whole video, in seconds.
        fps: frames a second of the whole video.

    """

    frames: np.ndarray = field(repr=False)
    indices: list[int]
    times: list[float]
    duration: float
    fps: float
