"""Answers, the turns after them, errors where they belong, and keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llava_interleave_serve.server.errors import EngineRefusal, Overloaded
from tests.playground.actions import answered, choose, open_page, sent, write
from tests.playground.conftest import answering
from tests.support import app_server
from tests.support.app_server import ServedApp
from tests.support.fakes.engine import FakeEngine

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@contextmanager
def long_answer(page: "Page") -> Iterator[None]:
    """A page whose first question gets an answer of thousands of tokens, of which the first ones are there."""
    engine = answering("A ")
    engine.events, engine.seconds_between = engine.events[:1] * 100_000, 0.05
    with app_server.in_thread(engine) as server:
        open_page(page, server.url)
        write(page, "Count.")
        sent(page)
        page.locator(".answer .text", has_text="A A").wait_for()
        yield


def test_an_answer_has_its_text_tokens_and_phases(page: "Page", served: ServedApp, pictures: list[Path]) -> None:
    open_page(page, served.url)
    choose(page, "Images", pictures[0])
    write(page, "What is in the image?")
    sent(page)
    assert answered(page) == "A red circle."
    facts = page.locator(".answer .facts").inner_text()
    assert "60 prompt tokens, 49 of them visual; 3 tokens of answer" in facts
    assert page.locator(".phases tr", has_text="prefill").locator("td").last.inner_text() == "250 ms"
    assert page.locator("#status").inner_text() == "Answer: A red circle."


def test_markup_in_an_answer_is_text(page: "Page") -> None:
    markup = '<img src="x" onerror="document.title = 1"><b>bold</b> **stars**'
    with app_server.in_thread(answering(markup)) as server:
        open_page(page, server.url)
        write(page, markup)
        sent(page)
        assert answered(page) == markup
    assert page.locator(".question .text").inner_text() == markup
    assert page.locator("#conversation img, #conversation b").count() == 0


def test_the_next_turn_has_what_was_said_before(page: "Page", served: ServedApp, pictures: list[Path]) -> None:
    open_page(page, served.url)
    sessions = []
    page.on(
        "request",
        lambda request: (
            sessions.append(request.headers.get("x-session-id"))
            if request.method == "POST" and not request.url.endswith("plan")
            else None
        ),
    )
    choose(page, "Images", pictures[0])
    write(page, "What is it?")
    sent(page)
    answered(page)
    assert page.locator(":focus").get_attribute("aria-label") == "Text"  # the next message can be written at once
    page.keyboard.type("And its colour?")
    messages = sent(page, lambda: page.keyboard.press("Control+Enter"))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == "A red circle."
    assert messages[0]["content"][0]["type"] == "image_url"
    answered(page, 1)
    page.get_by_role("button", name="New conversation").click()
    write(page, "Hello!")
    assert len(sent(page)["messages"]) == 1
    answered(page)
    assert sessions[0] == sessions[1] != sessions[2]
    assert len(sessions[0] or "") == 32


def test_a_message_is_edited_and_asked_again(page: "Page", served: ServedApp) -> None:
    open_page(page, served.url)
    write(page, "What is it?")
    sent(page)
    answered(page)
    page.get_by_role("button", name="Edit message 1").click()
    assert page.locator("#conversation > li").count() == 0
    write(page, "What was it?")
    assert sent(page)["messages"] == [{"role": "user", "content": [{"type": "text", "text": "What was it?"}]}]


def test_an_edit_stops_the_answer_that_still_comes(page: "Page") -> None:
    with long_answer(page):
        page.get_by_role("button", name="Edit message 1").click()
        page.get_by_role("button", name="Send", exact=True).and_(page.locator(":enabled")).wait_for()
        assert page.locator("#conversation > li").count() == 0
        assert sent(page)["messages"][0]["content"][0]["text"] == "Count."
        page.get_by_role("button", name="Stop").click()


def test_a_stream_is_stopped(page: "Page") -> None:
    with long_answer(page):
        page.get_by_role("button", name="Stop").click()
        assert answered(page).startswith("A A")
        page.locator(".answer", has_text="Stopped.").wait_for()
        assert page.get_by_role("button", name="Send", exact=True).is_enabled()


def test_probabilities_of_tokens_are_asked_for_and_shown(page: "Page") -> None:
    engine = answering("x")
    engine.events[0] = (
        '{"choices":[{"index":0,"delta":{"content":"Yes"},"logprobs":{"content":[{"token":"Yes","logprob":-0.6931}]}}]}'
    )
    with app_server.in_thread(engine) as server:
        open_page(page, server.url)
        page.get_by_label("Show the probability").check()
        write(page, "Is it?")
        assert sent(page)["logprobs"] is True
        assert answered(page) == "Yes"
        assert page.locator(".token").get_attribute("title") == "50 %"


def test_an_error_is_shown_at_the_part_that_it_names(page: "Page", served: ServedApp, pictures: list[Path]) -> None:
    pictures[1].write_bytes(pictures[1].read_bytes()[:60])
    open_page(page, served.url)
    choose(page, "Images", *pictures[:2])
    write(page, "What?")
    sent(page)
    faulty = page.locator(".part.faulty")
    faulty.wait_for()
    assert faulty.get_attribute("aria-label") == "Image, part 2 of 3"
    assert faulty.get_by_role("alert").inner_text() != ""
    assert page.locator(":focus").get_attribute("aria-label") == "Image, part 2 of 3"
    assert page.locator("#conversation > li").count() == 0  # the message is still there to be mended
    page.get_by_role("button", name="Remove Image, part 2 of 3").click()
    assert page.locator(".part.faulty").count() == 0
    sent(page)
    assert answered(page) == "A red circle."


def test_an_error_of_one_of_several_pictures_is_shown_at_it(
    page: "Page", served: ServedApp, pictures: list[Path]
) -> None:
    pictures[1].write_bytes(b"no picture")
    open_page(page, served.url)
    choose(page, "Frames", *pictures[:3])
    write(page, "What?")
    sent(page)
    page.locator(".pictures li.faulty").wait_for()
    assert [node.get_attribute("class") or "" for node in page.locator(".pictures li").all()] == ["", "faulty", ""]


def test_an_option_that_cannot_be_is_marked_while_one_composes(
    page: "Page", served: ServedApp, pictures: list[Path]
) -> None:
    open_page(page, served.url)
    choose(page, "Images", pictures[0])
    page.get_by_role("button", name="Options of Image").click()
    page.get_by_label("By").select_option("2")  # without a pooling
    page.locator(".part.faulty", has_text="pool_stride needs pooling").wait_for()
    page.get_by_label("Pooling").select_option("max")
    page.locator(".part.faulty").wait_for(state="detached")


def test_an_error_of_a_setting_is_shown_there(page: "Page") -> None:
    engine = FakeEngine()
    engine.refuses = EngineRefusal("temperature must be in [0, 2], got 3", param="temperature")
    with app_server.in_thread(engine) as server:
        open_page(page, server.url)
        page.get_by_label("Temperature").fill("3")
        write(page, "What?")
        page.locator("#fault", has_text="Temperature must be in [0, 2]").wait_for()
        assert page.get_by_label("Temperature").get_attribute("aria-invalid") == "true"


def test_a_full_server_says_when_to_ask_again(page: "Page") -> None:
    full = FakeEngine(fails=Overloaded("the server is full", retry_after=7))
    with app_server.in_thread(full) as server:
        open_page(page, server.url)
        write(page, "What?")
        sent(page)
        page.locator("#fault", has_text="The server is full. Try again in 7 seconds.").wait_for()
        assert page.locator(":focus").get_attribute("id") == "send"
        full.fails = None
        sent(page)
        answered(page)


def test_a_stream_that_breaks_keeps_its_text_and_says_why(page: "Page") -> None:
    engine = answering("A ", "B")
    engine.events, engine.stream_fails = engine.events[:2], EngineRefusal("the engine gave up")
    with app_server.in_thread(engine) as server:
        open_page(page, server.url)
        write(page, "What?")
        sent(page)
        assert answered(page) == "A B"
        assert page.locator(".answer .fault").inner_text() == "The engine gave up."


def test_a_server_with_keys_is_asked_with_the_key_that_the_user_gives(page: "Page") -> None:
    with app_server.in_thread(answering("Yes."), api_keys=("right",)) as server:
        page.goto(server.url)
        field = page.get_by_label("API key")
        field.wait_for()
        assert field.evaluate("node => node === document.activeElement")
        field.fill("wrong")
        page.get_by_role("button", name="Use this key").click()
        page.locator("#key-note", has_text="none of this server's").wait_for()
        field.fill("right")
        page.get_by_role("button", name="Use this key").click()
        page.locator("#model", has_text="fake").wait_for()
        assert not field.is_visible()
        write(page, "Is it?")
        sent(page)
        assert answered(page) == "Yes."
        assert "right" not in page.content()
        assert "LLAVA_INTERLEAVE_API_KEY" in page.locator("#sample").inner_text()
        assert page.evaluate("[Object.values(sessionStorage), Object.values(localStorage)]") == [["right"], []]
        page.reload()
        page.locator("#model", has_text="fake").wait_for()  # this tab knows it still


def test_a_key_that_is_no_longer_taken_is_asked_for_again(page: "Page") -> None:
    with app_server.in_thread(answering("Yes."), api_keys=("right",)) as server:
        page.goto(server.url)
        page.get_by_label("API key").fill("right")
        page.get_by_role("button", name="Use this key").click()
        page.locator("#model", has_text="fake").wait_for()
        write(page, "Is it?")
        page.locator("#cost [role=meter]").wait_for()
        page.evaluate("sessionStorage.setItem(sessionStorage.key(0), 'withdrawn')")
        sent(page)
        page.locator("#key-note", has_text="none of this server's").wait_for()
        assert page.locator(":focus").get_attribute("id") == "key"
        page.locator(":focus").fill("right")
        page.keyboard.press("Enter")
        page.get_by_label("API key").wait_for(state="hidden")
        sent(page)
        assert answered(page) == "Yes."


def test_a_file_that_has_changed_since_is_named(page: "Page", served: ServedApp, pictures: list[Path]) -> None:
    open_page(page, served.url)
    choose(page, "Images", pictures[0])
    pictures[0].write_bytes(b"another")
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator("#fault", has_text="Red.png cannot be read any more").wait_for()


def test_a_server_that_is_gone_is_named_as_such(page: "Page") -> None:
    with app_server.in_thread() as server:
        open_page(page, server.url)
        write(page, "What?")
        page.locator("#cost [role=meter]").wait_for()
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator("#fault", has_text="The server was not reached").wait_for()
