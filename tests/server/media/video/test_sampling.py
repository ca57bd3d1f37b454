"""A Sampling selects frames from given times."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llava_interleave_serve.server.media.video.sampling import Sampling, sample


def test_fps_selects_the_frames_on_screen_at_a_variable_frame_rate() -> None:
    times = np.array([0.0, 0.1, 0.2, 5.0, 9.9])
    assert sample(times, 10.0, Sampling(fps=0.5), 100) == [0, 2, 3]


@given(
    st.lists(st.floats(0, 2, allow_subnormal=False), min_size=1, max_size=30),
    st.floats(0.01, 300),
    st.floats(0, 20),
    st.floats(0.1, 40) | st.none(),
)
def test_fps_selects_the_frames_on_screen_at_multiples_of_its_period(
    gaps: list[float], fps: float, start: float, end: float | None
) -> None:
    times = np.cumsum([0.0, *gaps])
    duration = float(times[-1]) + 0.1
    assume(start < duration and (end is None or end > start))
    moments = start + np.arange(math.ceil((min(duration, end or duration) - start) * fps)) / fps
    first, last = np.searchsorted(times, [start, end or duration], side="right") - 1
    on_screen = np.clip(np.searchsorted(times, moments, side="right") - 1, first, max(first, last))
    indices = sample(times, duration, Sampling(fps=fps, start=start, end=end), 100)
    # At the ends of the span, a frame that begins exactly at a moment may be decided by the last bit of a float.
    assert set(indices) ^ set(on_screen.tolist()) <= {first, last}
    assert indices == sorted(set(indices))


@pytest.mark.parametrize("fps", [1e6, 1e9, 1e300, 1.7e308])
def test_a_very_high_fps_selects_every_frame(fps: float) -> None:
    assert sample(np.array([0.0, 0.5, 1.0, 1.5]), 2.0, Sampling(fps=fps), 100) == [0, 1, 2, 3]


def test_a_video_of_a_single_frame_is_sampled() -> None:
    assert sample(np.array([0.0]), 0.04, Sampling(), 100) == [0]


def test_num_frames_selects_the_frames_of_the_checkpoints_evaluation() -> None:
    """It takes np.linspace(0, n - 1, k, dtype=int), which rounds down."""
    times = np.arange(132) / 30
    assert sample(times, 4.4, Sampling(num_frames=8), 100) == [0, 18, 37, 56, 74, 93, 112, 131]
    # From 1 s to 2 s are the frames 30 to 59.
    assert sample(times, 4.4, Sampling(num_frames=8, start=1, end=2), 100) == [30, 34, 38, 42, 46, 50, 54, 59]


def test_num_frames_selects_rising_indices_without_duplicates() -> None:
    times = np.arange(7) / 3
    for num_frames in range(1, 20):
        indices = sample(times, 7 / 3, Sampling(num_frames=num_frames), 100)
        assert indices == sorted(set(indices))
        assert len(indices) == min(num_frames, 7)


def test_the_shortest_span_at_the_lowest_rate_has_the_frame_at_its_start() -> None:
    sampling = Sampling(fps=1e-275, start=1e-236, end=1e-197)  # whose product is 0 in 64 bits
    assert sample(np.arange(10.0), 10.0, sampling, 4) == [0]
