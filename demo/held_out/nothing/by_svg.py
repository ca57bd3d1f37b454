"""Pictures by Chromium that show nothing which the demo knows."""

import random

import numpy as np

from llava_interleave_serve.demo.held_out import composition
from llava_interleave_serve.demo.held_out.colours import REGIONS, RGB, shade
from llava_interleave_serve.demo.held_out.drawings import Paper
from llava_interleave_serve.demo.held_out.nothing import words
from llava_interleave_serve.demo.held_out.nothing.forms import forms
from llava_interleave_serve.demo.held_out.renderers.by_svg import PAGE, colour, paper, perlin, svg
from llava_interleave_serve.demo.held_out.renderers.chromium import screenshot

SUBJECTS = ("plain", "gradient", "noise", "marble", "article", "listing", "table", "curves", "forms")
FONTS = ("Liberation Sans", "Liberation Serif", "DejaVu Sans", "DejaVu Serif")


def draw(rng: random.Random, width: int, height: int) -> np.ndarray:
    """Draws a picture of one of SUBJECTS: uint8 [height, width, 3], RGB."""
    subject = rng.choice(SUBJECTS)
    match subject:
        case "plain" | "gradient" | "noise":
            drawn = paper(Paper(subject, composition.paper(rng).rgb, composition.paper(rng).rgb, rng.randrange(1000)))
        case "marble":
            marble = Paper("texture", _any_colour(rng), _any_colour(rng), rng.randrange(1000))
            drawn = perlin(marble, rng.uniform(0.003, 0.05), octaves=5)
        case "article" | "listing" | "table":
            return screenshot(_document(rng, subject), width, height)
        case "curves":
            drawn = _curves(rng, width, height)
        case _:
            chosen = composition.paper(rng)
            drawn = paper(chosen) + "".join(
                f'<polygon points="{" ".join(f"{x:.2f},{y:.2f}" for x, y in corners)}" fill="{colour(rgb)}"/>'
                for rgb, corners in forms(rng, width, height, chosen)
            )
    return screenshot(PAGE.format(svg(drawn, width, height)), width, height)


def _any_colour(rng: random.Random) -> RGB:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _document(rng: random.Random, subject: str) -> str:
    size = rng.uniform(8, 18)
    lines = [words.line(rng, rng.randint(20, 60)) for _ in range(120)]
    match subject:
        case "article":
            font, columns = rng.choice(FONTS), rng.choice(("auto", "2"))
            body = f"<h2>{lines[0]}</h2>" + "".join(
                f"<p>{' '.join(lines[start : start + 6])} <a href='#'>{lines[start][:12]}</a></p>"
                for start in range(1, 115, 6)
            )
            body = f"<div style='columns: {columns}'>{body}</div>"
        case "listing":
            font = "Liberation Mono"
            body = "<pre>" + "\n".join(" " * rng.choice((0, 4, 8)) + line.lower() for line in lines) + "</pre>"
        case _:
            font = rng.choice(FONTS)
            rows = (
                "".join(f"<td>{rng.randint(1, 9999)}</td>" for _ in range(4)) + f"<td>{line[:20]}</td>"
                for line in lines
            )
            body = f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
    dark = rng.random() < 0.3
    ink, ground = ("#ddd", "#222") if dark else ("#222", rng.choice(("#fff", "#fdf6e3", "#f4f4f4")))
    style = (
        f"html {{ overflow: hidden }} body {{ font: {size:.1f}px '{font}'; color: {ink}; background: {ground} }}"
        "td { border-bottom: 1px solid #888; padding: 0 0.7em } a { color: #06c }"
    )
    return f"<style>{style}</style>{body}"


def _curves(rng: random.Random, width: int, height: int) -> str:
    """Thin wandering lines over a grid."""
    ground = '<rect width="100%" height="100%" fill="white"/>'
    grid = "".join(
        f'<line x1="0" x2="{width}" y1="{height * row / 6:.1f}" y2="{height * row / 6:.1f}" stroke="#ddd"/>'
        for row in range(1, 6)
    )
    lines = ""
    for _ in range(rng.randint(1, 5)):
        level = rng.uniform(0.2, 0.8)
        points = " ".join(
            f"{width * index / 60:.1f},{height * (level + 0.04 * value):.1f}"
            for index, value in enumerate(words.walk(rng, 60))
        )
        stroke = colour(shade(rng, rng.choice(tuple(REGIONS))))
        lines += f'<polyline points="{points}" fill="none" stroke="{stroke}" stroke-width="{rng.uniform(1, 2):.1f}"/>'
    return ground + grid + lines
