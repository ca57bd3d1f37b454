"""What a user does on the playground."""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

DROP = """async ([selector, files]) => {
    const data = new DataTransfer();
    for (const [name, type, content] of files) {
        const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
        data.items.add(new File([bytes], name, { type }));
    }
    const target = document.querySelector(selector);
    const options = { bubbles: true, cancelable: true };
    const events = selector === "body"
        ? [new ClipboardEvent("paste", { ...options, clipboardData: data })]
        : ["dragover", "drop"].map((name) => new DragEvent(name, { ...options, dataTransfer: data }));
    for (const event of events) target.dispatchEvent(event);
}"""


def open_page(page: "Page", url: str) -> None:
    """Opens the playground, and returns once the server has told it about itself."""
    page.goto(url)
    page.locator("#examples li").first.wait_for()


def choose(page: "Page", kind: str, *files: Path) -> None:
    """Adds a part by its button and the files that are chosen then. kind: `Images`, `Frames`, …"""
    with page.expect_file_chooser() as chooser:
        page.locator("#add").get_by_role("button", name=kind, exact=True).click()
    chooser.value.set_files(files)


def drop(page: "Page", selector: str, *files: Path, media_type: str = "image/png") -> None:
    """Drops files onto an element; onto `body` they are pasted."""
    contents = [[file.name, media_type, base64.b64encode(file.read_bytes()).decode()] for file in files]
    page.evaluate(DROP, [selector, contents])


def write(page: "Page", text: str) -> None:
    """Writes into the last text part."""
    page.get_by_role("textbox", name="Text").last.fill(text)


def kinds(page: "Page") -> list[str]:
    """The parts that are composed, by their order on the page."""
    names: list[str] = page.locator("#parts > li .kind").all_inner_texts()
    return names


def sent(page: "Page", act: "Callable[[], object] | None" = None) -> dict[str, Any]:
    """The body of the request that is sent, by the button if nothing else is done."""
    with page.expect_request(lambda request: request.url.endswith("/v1/chat/completions")) as request:
        (act or page.get_by_role("button", name="Send", exact=True).click)()
    body: dict[str, Any] = request.value.post_data_json
    return body


def answered(page: "Page", number: int = 0) -> str:
    """The text of an answer, once it has ended."""
    answer = page.locator("#conversation > .answer").nth(number)
    answer.and_(page.locator(":not([aria-busy])")).wait_for()
    text: str = answer.locator(".text").inner_text()
    return text


def texts_and_urls(content: Sequence[dict[str, Any]]) -> list[str]:
    """Texts as they are, and of media the type."""
    return [part["text"] if part["type"] == "text" else part["type"] for part in content]


def drag(page: "Page", handle: "Locator", target: "Locator", share: float) -> None:
    """Drags with the mouse to a share of the target's height."""
    start, end = handle.bounding_box(), target.bounding_box()
    assert start is not None
    assert end is not None
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(end["x"] + 40, end["y"] + share * end["height"], steps=12)
    page.mouse.up()
