"""Pictures by matplotlib that show nothing which the demo knows."""

import random

import numpy as np
from matplotlib import cbook, image
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from llava_interleave_serve.demo.held_out import composition
from llava_interleave_serve.demo.held_out.drawings import Paper
from llava_interleave_serve.demo.held_out.nothing import words
from llava_interleave_serve.demo.held_out.nothing.forms import forms
from llava_interleave_serve.demo.held_out.renderers.by_matplotlib import DPI, POINTS, new_figure, pixels

SUBJECTS = ("plain", "gradient", "fractal", "photograph", "page", "lines", "bars", "forms")
MAPS = ("gray", "terrain", "bone", "copper", "viridis", "coolwarm", "ocean", "pink")
LINE_COLOURS = ("tab:red", "tab:green", "tab:blue", "gold", "tab:purple", "black", "dimgray")


def draw(rng: random.Random, width: int, height: int) -> np.ndarray:
    """Draws a picture of one of SUBJECTS: uint8 [height, width, 3], RGB."""
    match rng.choice(SUBJECTS):
        case "plain":
            rgb = composition.paper(rng).rgb
            return pixels(new_figure(width, height, Paper("plain", rgb, rgb)))
        case "gradient":
            ends = (composition.paper(rng).rgb, composition.paper(rng).rgb)
            return pixels(new_figure(width, height, Paper("gradient", *ends, rng.randrange(4))))
        case "fractal":
            return _image(_fractal(rng), rng.choice(MAPS), width, height)
        case "photograph":
            return _photograph(rng, width, height)
        case "page":
            return _page(rng, width, height)
        case "lines":
            return _chart(rng, width, height, bars=False)
        case "bars":
            return _chart(rng, width, height, bars=True)
        case _:
            figure_paper = composition.paper(rng)
            figure = new_figure(width, height, figure_paper)
            for rgb, corners in forms(rng, width, height, figure_paper):
                figure.axes[0].add_patch(Polygon(corners, closed=True, facecolor=[c / 255 for c in rgb]))
            return pixels(figure)


def _white(width: int, height: int) -> Figure:
    return new_figure(width, height, Paper("plain", (255, 255, 255), (255, 255, 255)))


def _image(values: np.ndarray, colour_map: str | None, width: int, height: int) -> np.ndarray:
    figure = _white(width, height)
    extent = (0, width, height, 0)
    figure.axes[0].imshow(values, cmap=colour_map, interpolation="bicubic", extent=extent, aspect="auto")
    return pixels(figure)


def _fractal(rng: random.Random) -> np.ndarray:
    """Draws noise whose amplitude falls with a power of the frequency, as in clouds and rocks: float64 [128, 128]."""
    generator = np.random.default_rng(rng.randrange(2**32))
    rows, columns = np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None, :]
    frequency = np.maximum(np.hypot(rows, columns), 1 / 128)
    spectrum = generator.normal(size=frequency.shape) + 1j * generator.normal(size=frequency.shape)
    return np.fft.irfft2(spectrum / frequency ** rng.uniform(1.0, 2.0))


def _photograph(rng: random.Random, width: int, height: int) -> np.ndarray:
    """Cuts a part out of the photograph or the elevation map among matplotlib's examples."""
    if rng.random() < 0.5:
        values, colour_map = image.imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)), None
    else:
        with np.load(cbook.get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)) as arrays:
            values, colour_map = arrays["elevation"], rng.choice(MAPS)
    share = rng.uniform(0.4, 1.0)
    rows, columns = (int(side * share) for side in values.shape[:2])
    top, left = rng.randint(0, values.shape[0] - rows), rng.randint(0, values.shape[1] - columns)
    return _image(values[top : top + rows, left : left + columns], colour_map, width, height)


def _page(rng: random.Random, width: int, height: int) -> np.ndarray:
    figure, size = _white(width, height), rng.uniform(7, 16)
    family = rng.choice(("sans-serif", "serif", "monospace"))
    for row in range(int(height / (1.5 * size)) - 1):
        text = words.line(rng, int(width / (0.5 * size)))
        baseline = (row + 1.2) * 1.5 * size
        figure.axes[0].text(size, baseline, text, fontsize=size * POINTS, family=family, color="#222222")
    return pixels(figure)


def _chart(rng: random.Random, width: int, height: int, bars: bool) -> np.ndarray:
    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor=rng.choice(("white", "whitesmoke")))
    axes = figure.add_axes((0.16, 0.16, 0.8, 0.76))
    if bars:
        heights = [rng.uniform(1, 10) for _ in range(rng.randint(5, 10))]
        axes.bar(range(len(heights)), heights, color=rng.choice(("0.4", "0.6", "0.75")), width=0.6)
    else:
        for colour in rng.sample(LINE_COLOURS, rng.randint(1, 4)):
            axes.plot(words.walk(rng, 40), color=colour, linewidth=rng.uniform(0.6, 1.5))
    axes.tick_params(labelsize=max(4.0, min(width, height) / 40))
    if rng.random() < 0.5:
        axes.grid(True, color="0.85")
    return pixels(figure)
