"""Drawings as SVG, by Chromium: its circles, rectangles and polygons over gradients and Perlin noise."""

import math

import numpy as np

from llava_interleave_serve.demo.held_out.colours import RGB
from llava_interleave_serve.demo.held_out.drawings import Drawing, Paper, Thing
from llava_interleave_serve.demo.held_out.renderers.chromium import screenshot

PAGE = "<style>body {{ margin: 0; overflow: hidden }} svg {{ display: block }}</style>{}"
# The filter's noise lies around a half, mostly within a quarter: this stretches it to 0 to 1.
STRETCH, SHIFT = 2.0, -0.5


def draw(drawing: Drawing) -> np.ndarray:
    """Draws the picture: uint8 [height, width, 3], RGB."""
    rendering = "geometricPrecision" if drawing.antialiased else "crispEdges"
    things = "".join(map(_thing, drawing.things))
    inside = f'{paper(drawing.paper)}<g shape-rendering="{rendering}">{things}</g>'
    return screenshot(PAGE.format(svg(inside, drawing.width, drawing.height)), drawing.width, drawing.height)


def svg(inside: str, width: int, height: int) -> str:
    """An SVG element of so many pixels."""
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{inside}</svg>'


def paper(paper: Paper) -> str:
    """A paper as SVG elements that fill the picture."""
    match paper.style:
        case "plain":
            return f'<rect width="100%" height="100%" fill="{colour(paper.rgb)}"/>'
        case "gradient":
            return _gradient(paper)
        case "texture":
            return perlin(paper, 0.004 + 0.03 * (paper.seed % 10) / 10, octaves=4)
        case _:
            return perlin(paper, 0.8, octaves=1)


def perlin(paper: Paper, frequency: float, octaves: int) -> str:
    """Perlin noise between the paper's colours, with features of 1 / `frequency` pixels."""
    share = f"{STRETCH} 0 0 0 {SHIFT} " * 3
    tables = "".join(
        f'<feFunc{channel} type="table" tableValues="{one / 255:.4f} {other / 255:.4f}"/>'
        for channel, one, other in zip("RGB", paper.rgb, paper.other, strict=True)
    )
    return (
        '<filter id="noise" x="0" y="0" width="100%" height="100%" color-interpolation-filters="sRGB">'
        f'<feTurbulence type="fractalNoise" baseFrequency="{frequency}" numOctaves="{octaves}" seed="{paper.seed}"/>'
        f'<feColorMatrix values="{share} 0 0 0 0 1"/><feComponentTransfer>{tables}</feComponentTransfer></filter>'
        '<rect width="100%" height="100%" filter="url(#noise)"/>'
    )


def colour(rgb: RGB) -> str:
    """The colour as CSS has it."""
    return f"rgb({rgb[0]} {rgb[1]} {rgb[2]})"


def _gradient(paper: Paper) -> str:
    angle = 2 * math.pi * (paper.seed % 24) / 24
    x, y = math.cos(angle) / 2, math.sin(angle) / 2
    return (
        f'<linearGradient id="paper" x1="{0.5 - x:.3f}" y1="{0.5 - y:.3f}" x2="{0.5 + x:.3f}" y2="{0.5 + y:.3f}">'
        f'<stop stop-color="{colour(paper.rgb)}"/><stop offset="1" stop-color="{colour(paper.other)}"/>'
        '</linearGradient><rect width="100%" height="100%" fill="url(#paper)"/>'
    )


def _thing(thing: Thing) -> str:
    fill = "none" if thing.style == "outlined" else colour(thing.rgb)
    style = f'fill="{fill}"'
    if thing.style != "filled":
        join = "round" if thing.variant % 2 else "miter"
        style += f' stroke="{colour(thing.line_rgb)}" stroke-width="{thing.line_width:.2f}" stroke-linejoin="{join}"'
    match thing.kind.shape:
        case "circle":
            return f'<circle cx="{thing.x:.2f}" cy="{thing.y:.2f}" r="{thing.inner_radius:.2f}" {style}/>'
        case "square":
            side = thing.inner_radius * math.sqrt(2)
            rounding = side * 0.12 * thing.proportion * (thing.variant % 3 == 0)
            return (
                f'<rect x="{-side / 2:.2f}" y="{-side / 2:.2f}" width="{side:.2f}" height="{side:.2f}" '
                f'rx="{rounding:.2f}" transform="translate({thing.x:.2f} {thing.y:.2f}) '
                f'rotate({math.degrees(thing.angle):.2f})" {style}/>'
            )
        case _:
            points = " ".join(f"{x:.2f},{y:.2f}" for x, y in thing.corners())
            return f'<polygon points="{points}" {style}/>'
