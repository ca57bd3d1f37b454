"""Renderers by name; each is imported, with the library that it needs, when it is asked for."""

import importlib
import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from llava_interleave_serve.demo.held_out.drawings import Drawing

PACKAGE = "llava_interleave_serve.demo.held_out"
RENDERERS = ("matplotlib", "opencv", "svg", "hand")


class Renderer(NamedTuple):
    """What one renderer draws: drawings, and pictures of a size that show nothing which the demo knows.

    Both give uint8 [height, width, 3], RGB.
    """

    draw: Callable[[Drawing], np.ndarray]
    draw_nothing: Callable[[random.Random, int, int], np.ndarray]


def renderer(name: str) -> Renderer:
    """The renderer of a name of RENDERERS.

    Raises ImportError if its library is not installed.
    """
    modules = (importlib.import_module(f"{PACKAGE}.{folder}.by_{name}") for folder in ("renderers", "nothing"))
    return Renderer(*(module.draw for module in modules))
