"""The regions of colours hold what people call by the names."""

import random
import re
from pathlib import Path

import pytest

from llava_interleave_serve.demo.held_out import colours
from llava_interleave_serve.demo.held_out.colours import REGIONS, USUAL
from llava_interleave_serve.demo.scenes.colours import COLOURS

# Of CSS Color Module Level 4.
CSS = {
    "red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "purple": (128, 0, 128),
    "black": (0, 0, 0),
}  # fmt: skip
OTHERS = {
    "orange": (255, 165, 0), "pink": (255, 192, 203), "hotpink": (255, 105, 180), "brown": (165, 42, 42),
    "cyan": (0, 255, 255), "teal": (0, 128, 128), "olive": (128, 128, 0), "magenta": (255, 0, 255),
    "violet": (238, 130, 238), "white": (255, 255, 255), "grey": (128, 128, 128), "silver": (192, 192, 192),
    "salmon": (250, 128, 114), "turquoise": (64, 224, 208), "beige": (245, 245, 220), "navy": (0, 0, 60),
}  # fmt: skip


def test_the_regions_have_the_names_of_the_colours_that_the_demo_knows() -> None:
    assert list(REGIONS) == list(COLOURS)


@pytest.mark.parametrize("name", CSS)
def test_a_style_sheets_colour_has_its_own_name(name: str) -> None:
    assert colours.named(CSS[name]) == name


@pytest.mark.parametrize("name", OTHERS)
def test_what_people_name_otherwise_has_no_name(name: str) -> None:
    assert colours.named(OTHERS[name]) is None


def test_the_documented_regions_are_the_regions() -> None:
    text = (Path(colours.__file__).resolve().parent / "README.md").read_text()
    table = text.partition("| hue, degrees")[2]
    rows = re.findall(r"^\| (\w+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)

    def span(bounds: tuple[float, float], everything: tuple[float, float]) -> str:
        return "any" if bounds == everything else f"{bounds[0]:g} to {bounds[1]:g}"

    assert rows == [
        (name, span(box.hue, (0, 360)), span(box.saturation, (0, 1)), span(box.value, (0, 1)))
        for name, boxes in REGIONS.items()
        for box in boxes
    ]


def test_no_colour_lies_in_the_regions_of_two_names() -> None:
    channel = (*range(0, 256, 9), 255)
    for rgb in ((red, green, blue) for red in channel for green in channel for blue in channel):
        names = [name for name, regions in REGIONS.items() if any(region.holds(rgb) for region in regions)]
        assert len(names) <= 1, (rgb, names)


@pytest.mark.parametrize("name", REGIONS)
def test_every_shade_has_the_name_that_it_was_drawn_for(name: str) -> None:
    rng = random.Random(name)
    assert {colours.named(rgb) for rgb in USUAL[name]} == {name}
    assert {colours.named(colours.shade(rng, name)) for _ in range(300)} == {name}


def test_differences_are_those_of_cielab() -> None:
    # Known values for sRGB and D65.
    assert colours.lab((255, 255, 255)) == pytest.approx((100, 0, 0), abs=0.05)
    assert colours.lab((255, 0, 0)) == pytest.approx((53.24, 80.09, 67.20), abs=0.05)
    assert colours.difference((0, 0, 0), (255, 255, 255)) == pytest.approx(100, abs=0.05)


def test_dark_hues_of_one_lightness_do_not_differ_clearly() -> None:
    assert colours.clearly_differ((255, 255, 0), (255, 255, 255))
    assert not colours.clearly_differ((70, 0, 130), (60, 30, 30))
