"""Drawings by matplotlib: patches of its Agg backend over images that it interpolates."""

import numpy as np
from matplotlib import colors
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, Polygon, RegularPolygon

from llava_interleave_serve.demo.held_out.colours import RGB
from llava_interleave_serve.demo.held_out.drawings import Drawing, Paper, Thing

DPI = 100.0
POINTS = 72 / DPI  # a pixel in points


def draw(drawing: Drawing) -> np.ndarray:
    """Draws the picture: uint8 [height, width, 3], RGB."""
    figure = new_figure(drawing.width, drawing.height, drawing.paper)
    axes = figure.axes[0]
    for thing in drawing.things:
        patch = _patch(thing)
        patch.set_antialiased(drawing.antialiased)
        axes.add_patch(patch)
    return pixels(figure)


def new_figure(width: int, height: int, paper: Paper) -> Figure:
    """A figure of the paper, whose axes measure in pixels, y down."""
    figure = Figure((width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    figure.set_facecolor(_hex(paper.rgb))
    if paper.style != "plain":
        values, interpolation = _values(paper, width, height)
        blend = colors.LinearSegmentedColormap.from_list("paper", [_hex(paper.rgb), _hex(paper.other)])
        extent = (0, width, height, 0)
        axes.imshow(values, cmap=blend, vmin=0, vmax=1, interpolation=interpolation, extent=extent, aspect="auto")
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """Renders the figure: uint8 [H, W, 3], RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _values(paper: Paper, width: int, height: int) -> tuple[np.ndarray, str]:
    """Shares of the paper's second colour, and how matplotlib interpolates between them."""
    generator = np.random.default_rng(paper.seed)
    match paper.style:
        case "gradient":
            return paper.ramp, "bilinear"
        case "texture":
            cells = int(generator.integers(4, 16))
            return generator.random((cells, cells)), "bicubic"
        case _:
            return generator.random((height, width)), "nearest"


def _patch(thing: Thing) -> Patch:
    outlined = thing.style == "outlined"
    style = {
        "facecolor": "none" if outlined else _hex(thing.rgb),
        "edgecolor": "none" if thing.style == "filled" else _hex(thing.line_rgb),
        "linewidth": thing.line_width * POINTS,
        "joinstyle": "miter" if thing.variant % 2 else "round",
    }
    centre = (thing.x, thing.y)
    match thing.kind.shape:
        case "circle":
            return Circle(centre, thing.inner_radius, **style)
        case "square":
            return RegularPolygon(centre, 4, radius=thing.inner_radius, orientation=np.pi / 4 + thing.angle, **style)
        case _:
            return Polygon(thing.corners(), closed=True, **style)


def _hex(rgb: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)
