"""Pictures by OpenCV that show nothing which the demo knows."""

import random

import cv2
import numpy as np

from llava_interleave_serve.demo.held_out import composition
from llava_interleave_serve.demo.held_out.colours import REGIONS, shade
from llava_interleave_serve.demo.held_out.drawings import Paper
from llava_interleave_serve.demo.held_out.nothing import words
from llava_interleave_serve.demo.held_out.nothing.forms import forms
from llava_interleave_serve.demo.held_out.renderers.by_opencv import paper

SUBJECTS = ("plain", "gradient", "texture", "noise", "clouds", "page", "curves", "forms")
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def draw(rng: random.Random, width: int, height: int) -> np.ndarray:
    """Draws a picture of one of SUBJECTS: uint8 [height, width, 3], RGB."""
    subject = rng.choice(SUBJECTS)
    one, other = composition.paper(rng).rgb, composition.paper(rng).rgb
    match subject:
        case "plain" | "gradient" | "texture" | "noise":
            return paper(Paper(subject, one, other, rng.randrange(1000)), width, height)
        case "clouds":
            return _clouds(rng, width, height)
        case "page":
            return _page(rng, width, height)
        case "curves":
            return _curves(rng, width, height)
        case _:
            chosen = composition.paper(rng)
            picture = paper(chosen, width, height)
            for rgb, corners in forms(rng, width, height, chosen):
                cv2.fillPoly(picture, [np.array(corners).astype(np.int32)], rgb, cv2.LINE_AA)
            return picture


def _clouds(rng: random.Random, width: int, height: int) -> np.ndarray:
    """Draws soft patches of many colours, as in a photograph out of focus."""
    generator = np.random.default_rng(rng.randrange(2**32))
    cells = rng.randint(4, 10)
    coarse = generator.integers(0, 256, (cells, cells, 3)).astype(np.float32)
    grey = coarse.mean(axis=2, keepdims=True)
    soft = cv2.resize(grey + rng.uniform(0, 0.6) * (coarse - grey), (width, height), interpolation=cv2.INTER_CUBIC)
    grain = generator.normal(0, rng.uniform(0, 12), soft.shape)
    picture: np.ndarray = np.clip(soft + grain, 0, 255)
    return picture.astype(np.uint8)


def _page(rng: random.Random, width: int, height: int) -> np.ndarray:
    picture = np.full((height, width, 3), rng.randint(225, 255), np.uint8)
    size, font = rng.uniform(9, 20), rng.choice(FONTS)
    for row in range(int(height / (1.6 * size)) - 1):
        place = (int(size), int((row + 1.3) * 1.6 * size))
        text = words.line(rng, int(width / (0.6 * size)))
        cv2.putText(picture, text, place, font, size / 30, (30, 30, 30), 1, cv2.LINE_AA)
    return picture


def _curves(rng: random.Random, width: int, height: int) -> np.ndarray:
    """Draws thin wandering lines across the picture."""
    picture = np.full((height, width, 3), 255, np.uint8)
    for _ in range(rng.randint(2, 6)):
        values = np.array(words.walk(rng, 60))
        ys = height * (rng.uniform(0.2, 0.8) + 0.04 * values)
        points = np.stack([np.linspace(0, width, len(values)), ys], axis=1)
        colour = shade(rng, rng.choice(tuple(REGIONS)))
        cv2.polylines(picture, [points.astype(np.int32)], False, colour, rng.randint(1, 2), cv2.LINE_AA)
    return picture
