"""Patterns of papers: the share of the second of two colours in each pixel, float32 [height, width], from 0 to 1."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image


def gradient(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * math.pi)
    x, y = np.linspace(-1, 1, width)[None, :], np.linspace(-1, 1, height)[:, None]
    if rng.random() < 0.3:  # from the middle outwards
        return np.sqrt(x**2 + y**2) / math.sqrt(2)
    along = x * math.cos(angle) + y * math.sin(angle)
    return (along - along.min()) / (along.max() - along.min())


def texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise of several scales, as of clouds, stone, leaves or cloth."""
    total, fall = np.zeros((height, width), np.float32), rng.uniform(0.4, 1.0)
    for octave in range(1, 7):
        grain = rng.standard_normal((2**octave, 2**octave)).astype(np.float32)
        total += fall**octave * np.asarray(Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC))
    total = (total - total.min()) / max(float(np.ptp(total)), 1e-6)
    return (total > rng.uniform(0.35, 0.65)).astype(np.float32) if rng.random() < 0.15 else total


def stripes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    angle, period, phase = rng.uniform(0, math.pi), rng.uniform(0.04, 0.3), rng.uniform(0, 1)
    x, y = np.linspace(0, 1, width)[None, :], np.linspace(0, 1, height)[:, None]
    wave = np.sin(2 * math.pi * ((x * math.cos(angle) + y * math.sin(angle)) / period + phase))
    return (wave > 0).astype(np.float32) if rng.random() < 0.5 else (1 + wave) / 2


def squared(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A checked cloth."""
    cell = max(4, int(min(width, height) * rng.uniform(0.04, 0.15)))
    x, y = np.arange(width)[None, :] // cell, np.arange(height)[:, None] // cell
    return ((x + y) % 2).astype(np.float32)


PATTERNS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "gradient": gradient,
    "texture": texture,
    "stripes": stripes,
    "squared": squared,
}
