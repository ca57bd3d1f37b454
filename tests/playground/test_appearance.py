"""The page in light and dark, on a phone, for screen readers; and the pages about the API."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.playground.actions import answered, choose, open_page, sent, write
from tests.support.app_server import ServedApp

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
LIGHT, DARK = {"viewport": {"width": 1240, "height": 900}}, {"color_scheme": "dark"}
PAPER = "getComputedStyle(document.body).backgroundColor"


def findings(page: "Page") -> list[str]:
    """What axe-core finds that is serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("options", [LIGHT, DARK, PHONE], ids=["light", "dark", "phone"])
def test_axe_finds_nothing_serious(
    page: "Page", served: ServedApp, pictures: list[Path], options: dict[str, Any]
) -> None:
    open_page(page, served.url)
    assert findings(page) == []
    choose(page, "Cameras", *pictures[:2])
    page.get_by_role("button", name="Options of Cameras").click()
    page.locator("#address-toggle").click()
    write(page, "What?")
    page.locator("#cost [role=meter]").wait_for()
    assert findings(page) == []
    pictures[2].write_bytes(b"no picture")
    choose(page, "Images", pictures[2])
    sent(page)
    page.locator(".part.faulty").wait_for()
    assert findings(page) == []
    page.locator(".part.faulty").get_by_role("button", name="Remove").click()
    sent(page)
    answered(page)
    assert findings(page) == []


@pytest.mark.parametrize("options", [PHONE], ids=["phone"])
def test_nothing_is_wider_than_a_phone(
    page: "Page", served: ServedApp, pictures: list[Path], options: dict[str, Any]
) -> None:
    open_page(page, served.url)
    choose(page, "Frames", *pictures)
    choose(page, "Images", pictures[0])
    page.get_by_role("button", name="Options of Image").tap()
    write(page, "x" * 200)
    sent(page)
    answered(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("options", [PHONE], ids=["phone"])
def test_a_finger_moves_parts(page: "Page", served: ServedApp, pictures: list[Path], options: dict[str, Any]) -> None:
    open_page(page, served.url)
    choose(page, "Images", pictures[0])
    handle, text = page.locator(".handle").first, page.locator("#parts > li").nth(1)
    handle.scroll_into_view_if_needed()
    start, end = handle.bounding_box(), text.bounding_box()
    assert start is not None
    assert end is not None
    touches = page.context.new_cdp_session(page)
    at = {"x": start["x"] + 10, "y": start["y"] + 10}
    below = {"x": end["x"] + 20, "y": end["y"] + 0.9 * end["height"]}
    touches.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    touches.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [below]})
    touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.locator("#parts > li:first-child .kind", has_text="Text").wait_for()


@pytest.mark.parametrize("options", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_are_the_systems_or_chosen(page: "Page", served: ServedApp, options: dict[str, Any]) -> None:
    open_page(page, served.url)
    light, dark = "rgb(247, 247, 245)", "rgb(18, 19, 24)"
    assert page.evaluate(PAPER) == (dark if options is DARK else light)
    page.get_by_label("Colours").select_option("dark")
    assert page.evaluate(PAPER) == dark
    page.reload()
    page.locator("html[data-theme=dark]").wait_for()
    assert page.evaluate(PAPER) == dark
    page.get_by_label("Colours").select_option("light")
    assert page.evaluate(PAPER) == light


def test_every_control_is_reached_by_the_tab_key(page: "Page", served: ServedApp, pictures: list[Path]) -> None:
    open_page(page, served.url)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the message"
    choose(page, "Images", pictures[0])
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.getAttribute('aria-label')"))
    assert reached >= {
        "theme",
        "send",
        "copy",
        "sample",
        "tab-curl",
        "Move Image, part 1 of 2",
        "Options of Image",
        "Text",
    }


@pytest.mark.parametrize(("path", "shows"), [("/docs", ".opblock-post"), ("/redoc", "[data-section-id]")])
def test_the_pages_about_the_api_need_nobody_else(chromium: Any, served: ServedApp, path: str, shows: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    foreign: list[str] = []
    page.on(
        "response",
        lambda response: (
            foreign.append(response.url) if not response.url.startswith((served.url, "blob:", "data:")) else None
        ),
    )
    page.goto(served.url + path)
    page.locator(shows).first.wait_for()
    assert "llava-interleave-serve" in page.locator("h1, h2").first.inner_text()
    assert foreign == []
    context.close()


def test_a_request_is_sent_from_the_page_about_the_api(chromium: Any, served: ServedApp) -> None:
    page = chromium.new_context().new_page()
    page.goto(served.url + "/docs")
    plan = page.locator("#operations-chat-plan")
    plan.locator(".opblock-summary").click()
    plan.get_by_role("button", name="Try it out").click()
    plan.get_by_role("button", name="Execute").click()
    plan.locator(".live-responses-table", has_text="chat.completion.plan").wait_for()
    page.context.close()
