"""The demo answers the page's examples at one click; and the pictures of the documentation.

`SCREENSHOTS` in the environment is the folder into which the pictures are written: `make page-check SCREENSHOTS=docs`.
"""

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.playground.actions import answered, open_page, write
from tests.support.demo_server import RunningServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.engine]
ROOT = Path(__file__).resolve().parents[2]
EXAMPLES: list[dict[str, Any]] = json.loads((ROOT / "server/playground/examples/examples.json").read_text())
COLOURS = 256  # of a screenshot's palette: a third of the size
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 1}
WIDE, DARK = (
    {"viewport": {"width": 1240, "height": 1180}},
    {"viewport": {"width": 1240, "height": 900}, "color_scheme": "dark"},
)


def ask_example(page: "Page", demo: RunningServer, title: str) -> str:
    open_page(page, demo.url)
    page.locator("#examples button", has=page.get_by_text(title, exact=True)).click()
    return answered(page)


def screenshot(page: "Page", name: str, folder: Path) -> None:
    page.mouse.move(0, 0)  # away from the button that was clicked
    content = page.screenshot(animations="disabled")
    image = (
        Image.open(io.BytesIO(content))
        .convert("RGB")
        .quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    image.save(Path(os.environ.get("SCREENSHOTS") or folder) / f"{name}.png", optimize=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["title"])
def test_the_demo_answers_an_example_at_one_click(page: "Page", demo: RunningServer, example: dict[str, Any]) -> None:
    assert ask_example(page, demo, example["title"]) == example["answer"]


def test_the_frames_that_the_model_saw_are_shown(page: "Page", demo: RunningServer) -> None:
    ask_example(page, demo, "A video")
    page.locator(".frames canvas").nth(7).wait_for()
    drawn = "c => c.getContext('2d').getImageData(5, 5, 1, 1).data[3]"  # the opacity of a pixel
    colours = page.evaluate(f"[...document.querySelectorAll('.frames canvas')].map({drawn})")
    assert colours == [255] * 8
    times = page.locator(".frames li span").all_inner_texts()
    assert times[0] == "0 s"
    assert len(set(times)) == 8


@pytest.mark.parametrize("options", [WIDE], ids=["wide"])
def test_a_picture_of_the_page(page: "Page", demo: RunningServer, options: dict[str, Any], tmp_path: Path) -> None:
    ask_example(page, demo, "A video")
    page.locator(".frames canvas").nth(7).wait_for()
    write(page, "What does the video show first?")
    page.locator("#cost [role=meter]").wait_for()
    page.evaluate("scrollTo(0, 0)")
    screenshot(page, "playground", tmp_path)


@pytest.mark.parametrize("options", [DARK], ids=["dark"])
def test_a_picture_of_the_page_in_the_dark(
    page: "Page", demo: RunningServer, options: dict[str, Any], tmp_path: Path
) -> None:
    ask_example(page, demo, "Camera views")
    page.get_by_role("button", name="Edit message 1").click()
    page.get_by_role("button", name="Options of Cameras").click()
    page.locator("#cost [role=meter]").wait_for()
    page.locator("#composer").scroll_into_view_if_needed()
    screenshot(page, "playground-dark", tmp_path)


@pytest.mark.parametrize("options", [PHONE], ids=["phone"])
def test_a_picture_of_the_page_on_a_phone(
    page: "Page", demo: RunningServer, options: dict[str, Any], tmp_path: Path
) -> None:
    ask_example(page, demo, "Two images")
    screenshot(page, "playground-phone", tmp_path)
