"""Parts come onto the page and into the request in the user's order, however they are added and moved."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.playground.actions import choose, drag, drop, kinds, open_page, sent, texts_and_urls, write
from tests.support import app_server
from tests.support.app_server import ServedApp
from tests.support.fakes.engine import FakeEngine

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def names(page: "Page") -> list[str | None]:
    return [card.get_attribute("aria-label") for card in page.locator("#parts > li").all()]


def test_parts_are_sent_in_the_order_in_which_they_stand(page: "Page", served: ServedApp, pictures: list[Path]) -> None:
    open_page(page, served.url)
    choose(page, "Images", *pictures[:2])  # before the text, which is empty
    write(page, "What is this?")
    choose(page, "Frames", *pictures)
    drop(page, "#parts > li:first-child", pictures[3])
    drop(page, "body", pictures[2])
    assert kinds(page) == ["Image", "Image", "Image", "Text", "Frames", "Image"]
    content = sent(page)["messages"][0]["content"]
    assert texts_and_urls(content) == ["image_url"] * 3 + ["What is this?", "video_frames", "image_url"]
    assert len(content[4]["video_frames"]["frames"]) == 4
    assert content[0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


def test_files_that_are_dropped_on_a_button_become_parts_of_its_kind(
    page: "Page", served: ServedApp, pictures: list[Path]
) -> None:
    open_page(page, served.url)
    drop(page, "[data-add=multi_view]", *pictures[:2])
    drop(page, ".multi_view .shown", pictures[2])  # onto the card: one view more
    write(page, "Which?")
    views = sent(page)["messages"][0]["content"][0]["multi_view"]["views"]
    assert [view["name"] for view in views] == ["red", "green", "blue"]


def test_a_video_is_a_video_however_it_is_added(page: "Page", served: ServedApp, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"not played")
    open_page(page, served.url)
    drop(page, "#composer", file, media_type="video/mp4")
    drop(page, "#composer", file, media_type="")
    assert kinds(page) == ["Video", "Video", "Text"]


def test_the_mouse_moves_parts(page: "Page", served: ServedApp, pictures: list[Path]) -> None:
    open_page(page, served.url)
    choose(page, "Images", pictures[0])
    write(page, "one")
    page.get_by_role("button", name="Text", exact=True).click()
    write(page, "two")
    cards = page.locator("#parts > li")
    drag(page, cards.nth(0).locator(".handle"), cards.nth(2), 0.9)
    assert kinds(page) == ["Text", "Text", "Image"]
    drag(page, cards.nth(1).locator(".handle"), cards.nth(0), 0.1)
    assert texts_and_urls(sent(page)["messages"][0]["content"]) == ["two", "one", "image_url"]


def test_the_arrow_keys_move_parts_and_the_handle_keeps_the_focus(
    page: "Page", served: ServedApp, pictures: list[Path]
) -> None:
    open_page(page, served.url)
    choose(page, "Images", pictures[0])
    write(page, "one")
    page.get_by_role("button", name="Move Image, part 1 of 2", exact=True).focus()
    page.keyboard.press("ArrowDown")
    assert names(page) == ["Text, part 1 of 2", "Image, part 2 of 2"]
    assert page.locator("#status").inner_text() == "Image moved to place 2 of 2"
    focused = page.locator(":focus")
    assert focused.get_attribute("aria-label") == "Move Image, part 2 of 2"
    page.keyboard.press("ArrowDown")  # it is the last
    page.keyboard.press("ArrowUp")
    assert focused.get_attribute("aria-label") == "Move Image, part 1 of 2"
    assert texts_and_urls(sent(page)["messages"][0]["content"]) == ["image_url", "one"]


def test_buttons_move_and_remove_parts_without_losing_the_focus(
    page: "Page", served: ServedApp, pictures: list[Path]
) -> None:
    open_page(page, served.url)
    choose(page, "Images", *pictures[:2])
    page.get_by_role("button", name="Move down: Image, part 2 of 3").click()
    assert kinds(page) == ["Image", "Text", "Image"]
    page.get_by_role("button", name="Remove Image, part 3 of 3").click()
    assert kinds(page) == ["Image", "Text"]
    assert page.locator(":focus").get_attribute("aria-label") == "Move Text, part 2 of 2"


def test_frames_and_views_are_moved_inside_their_part(page: "Page", served: ServedApp, pictures: list[Path]) -> None:
    open_page(page, served.url)
    choose(page, "Cameras", *pictures[:3])
    write(page, "Which?")
    page.get_by_role("button", name="Move view 1 of 3", exact=True).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.get_by_label("Camera", exact=True).first.fill("CAM_BACK")
    page.get_by_role("button", name="Remove view 2 of 3").click()
    views = sent(page)["messages"][0]["content"][0]["multi_view"]["views"]
    assert [view["name"] for view in views] == ["CAM_BACK", "red"]


def test_options_and_settings_are_in_the_request(page: "Page", served: ServedApp, pictures: list[Path]) -> None:
    open_page(page, served.url)
    choose(page, "Images", pictures[0])
    page.get_by_role("button", name="Options of Image").click()
    page.get_by_label("Pooling").select_option("average")
    page.get_by_label("By").select_option("3")
    page.locator("#address-toggle").click()
    page.get_by_label("Address of the file").fill("http://127.0.0.1:9/clip.mp4")
    page.get_by_label("It is").select_option("video_url")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name="Options of Video").click()
    page.get_by_label("Frames", exact=True).fill("4")
    page.get_by_label("From second").fill("1.5")
    page.get_by_label("System message").fill("Be brief.")
    page.get_by_label("Most visual tokens").fill("900")
    write(page, "What?")
    body = sent(page)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    image, video, text = body["messages"][1]["content"]
    assert (image["image_url"]["pooling"], image["image_url"]["pool_stride"]) == ("average", 3)
    assert video["video_url"] == {"url": "http://127.0.0.1:9/clip.mp4", "num_frames": 4, "start": 1.5}
    assert text["text"] == "What?"
    assert (body["max_visual_tokens"], body["temperature"], body["stream"]) == (900, 0, True)


def test_the_cost_is_shown_while_one_composes(page: "Page", served: ServedApp, pictures: list[Path]) -> None:
    open_page(page, served.url)
    choose(page, "Frames", *pictures)
    write(page, "What?")
    page.locator("#cost", has_text="4 visuals (196 tokens)").wait_for()
    assert page.locator("#parts > li").first.locator(".tokens").inner_text() == "4 visuals, 196 tokens"
    page.get_by_role("button", name="Options of Frames").click()
    page.get_by_label("Pooling").select_option("bilinear")
    page.locator(".tokens", has_text="4 visuals, 64 tokens, bilinear by 2").wait_for()


def test_what_does_not_fit_is_said_before_it_is_sent(page: "Page", pictures: list[Path]) -> None:
    with app_server.in_thread(FakeEngine(max_model_len=100)) as server:
        open_page(page, server.url)
        choose(page, "Frames", *pictures)
        page.locator("#cost", has_text="do not fit the context of 100").wait_for()


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_the_copied_code_sends_the_same_request(
    page: "Page", served: ServedApp, pictures: list[Path], language: str, tmp_path: Path
) -> None:
    open_page(page, served.url)
    choose(page, "Images", pictures[0])
    page.get_by_label("Most visual tokens").fill("900")
    text = 'Is this "$HOME" or `id`?\n\\n it\'s $(id) é'
    write(page, text)
    page.get_by_role("tab", name=language).click()
    page.locator("#sample", has_text="900").wait_for()
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    code = page.evaluate("navigator.clipboard.readText()")
    run = ["bash", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    ran = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "circle." in ran.stdout
    by_code = served.engine.asked[-1]
    sent(page)
    page.locator(".answer:not([aria-busy])").wait_for()
    by_page = served.engine.asked[-1]
    assert by_code[0] == by_page[0]
    assert by_code[2]["temperature"] == by_page[2]["temperature"] == 0
