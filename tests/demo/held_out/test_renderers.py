"""Every renderer draws the shapes that a drawing has, with nothing of what training draws with."""

import math
import random
import subprocess
import sys

import numpy as np
import pytest
from scripts.import_graph import PACKAGE, imported_names, python_files

from llava_interleave_serve.demo.held_out.drawings import Drawing, Paper, Thing
from llava_interleave_serve.demo.held_out.registry import RENDERERS, renderer
from llava_interleave_serve.demo.scenes.drawing import Kind

WHITE, RED, BLACK = (255, 255, 255), (255, 0, 0), (0, 0, 0)
RADIUS = 60
# Areas in squares of the circumscribed circle's radius, of a triangle whose equal sides are seen from its centre under
# 120 degrees, and of a star whose dents are at 0.42 of the radius: both have the proportion of 0.5.
AREAS = {
    "circle": math.pi,
    "square": 2.0,
    "triangle": 3 * math.sqrt(3) / 4,
    "star": 10 * 0.5 * 0.42 * math.sin(math.pi / 5),
}
BY_NAME = [pytest.param(name, marks=[pytest.mark.browser] if name == "svg" else []) for name in RENDERERS]
# The shades on a star's outline of 400 pixels are red or not by half. OpenCV fills the pixels on the edge too, half a
# pixel all around. A line by hand is bent, and its pen, of a twentieth to an eighth of the radius, goes around.
TOLERANCE = {"matplotlib": 0.03, "opencv": 0.06, "svg": 0.03, "hand": 0.5}
MAY_IMPORT = {"Kind", "KINDS", "DIRECTIONS", "CAMERAS", "listing", "movement", "write_mp4"}


def one_thing(shape: str, paper: Paper | None = None, **fields: object) -> Drawing:
    thing = Thing(Kind("red", shape), 150.0, 100.0, RADIUS, 0.2, RED, proportion=0.5)
    return Drawing(300, 200, paper or Paper("plain", WHITE, WHITE), (Thing(**{**vars(thing), **fields}),))  # type: ignore[arg-type]


def is_near(picture: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """Where the picture has the colour: bool [H, W]."""
    return np.abs(picture.astype(int) - rgb).max(axis=2) < 60


@pytest.mark.parametrize("shape", AREAS)
@pytest.mark.parametrize("name", BY_NAME)
def test_a_filled_shape_has_its_area_and_its_place(name: str, shape: str) -> None:
    picture = renderer(name).draw(one_thing(shape, variant=4))
    assert picture.shape == (200, 300, 3)
    assert picture.dtype == np.uint8
    red = is_near(picture, RED)
    assert red.sum() == pytest.approx(AREAS[shape] * RADIUS**2, rel=TOLERANCE[name])
    ys, xs = np.nonzero(red)
    assert math.hypot(xs.mean() - 150, ys.mean() - 100) < RADIUS / 6
    assert np.hypot(xs - 150, ys - 100).max() <= RADIUS * (1.1 if name == "hand" else 1.03)


@pytest.mark.parametrize("shape", AREAS)
@pytest.mark.parametrize("name", BY_NAME)
def test_an_outlined_shape_shows_the_paper_inside(name: str, shape: str) -> None:
    picture = renderer(name).draw(one_thing(shape, style="outlined", line_rgb=RED, line_width=RADIUS / 6))
    assert is_near(picture, WHITE)[90:110, 140:160].all()
    assert is_near(picture, RED).sum() > 0.5 * RADIUS**2


@pytest.mark.parametrize("name", BY_NAME)
def test_a_bordered_shape_has_its_own_colour_inside_a_line_of_another(name: str) -> None:
    picture = renderer(name).draw(one_thing("square", style="bordered", line_rgb=BLACK, line_width=6.0))
    assert is_near(picture, RED).sum() > RADIUS**2
    # The line is about four sides of 1.41 radii long.
    assert is_near(picture, BLACK).sum() == pytest.approx(4 * 1.41 * RADIUS * 6, rel=0.25)


@pytest.mark.parametrize("antialiased", [True, False])
@pytest.mark.parametrize("name", BY_NAME)
def test_only_antialiased_edges_have_shades(name: str, antialiased: bool) -> None:
    drawing = one_thing("triangle")
    picture = renderer(name).draw(Drawing(**{**vars(drawing), "antialiased": antialiased}))
    shades = ~(is_near(picture, RED) | is_near(picture, WHITE))
    assert shades.any() == antialiased


@pytest.mark.parametrize("style", ["gradient", "texture", "noise"])
@pytest.mark.parametrize("name", BY_NAME)
def test_a_special_paper_varies_between_its_colours(name: str, style: str) -> None:
    paper = Paper(style, (60, 70, 80), (200, 190, 180), seed=5)
    picture = renderer(name).draw(one_thing("circle", paper, radius=20.0))
    behind = picture[:70]
    assert behind.std(axis=(0, 1)).min() > 10
    assert behind.min() >= 60 - 2
    assert behind.max() <= 200 + 2


@pytest.mark.parametrize("name", BY_NAME)
def test_a_picture_of_nothing_has_the_size_that_is_asked_for(name: str) -> None:
    for number in range(12):
        picture = renderer(name).draw_nothing(random.Random(number), 130, 97)
        assert picture.shape == (97, 130, 3)
        assert picture.dtype == np.uint8


def test_no_held_out_module_draws_with_what_training_draws_with() -> None:
    for file in python_files("demo/held_out"):
        names = imported_names(file)
        assert not {name for name in names if name.startswith("PIL.ImageDraw")}, file
        scenes = {name for name in names if name.startswith(f"{PACKAGE}.demo.scenes")}
        assert {name.rpartition(".")[2] for name in scenes} <= MAY_IMPORT, file


def test_a_renderers_library_is_imported_when_the_renderer_is_asked_for() -> None:
    code = (
        f"import sys; from {PACKAGE}.demo.held_out.conversations import conversation\n"
        "print([name for name in ('cv2', 'matplotlib', 'playwright') if name in sys.modules])\n"
        "conversation('matplotlib', 'nothing', 0)\n"
        "print([name for name in ('cv2', 'matplotlib', 'playwright') if name in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["[]", "['matplotlib']"]
