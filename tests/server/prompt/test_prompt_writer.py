"""Prompts are the token sequences written by hand from the reference format."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from llava_interleave_serve.server import config
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.prompt_writer import PromptWriter

FILE = Path(config.DEMO_CHECKPOINT) / "tokenizer.json"
TOKENIZER = Tokenizer.from_file(str(FILE))
IMAGE = "<image>"
CONTROLS = {TOKENIZER.token_to_id(token) for token in ("<image>", "<|im_start|>", "<|im_end|>")}
URL = {"url": "data:,"}

SYSTEM = ["<|im_start|>", "system", "\n", "You", " are", " a", " helpful", " assistant", ".", "<|im_end|>", "\n"]
USER = ["<|im_start|>", "user", "\n"]
END = ["<|im_end|>", "\n"]
FRONT, BACK = ["CAM", "_FRONT", ":", " "], ["CAM", "_BACK", ":", " "]
ASSISTANT = ["<|im_start|>", "assistant", "\n"]


def token_id(token: str) -> int:
    """The id of a token as the vocabulary spells it."""
    number: int | None = TOKENIZER.token_to_id(token)
    assert number is not None, token
    return number


def ids(tokens: list[str]) -> list[int]:
    """Hand-written tokens as ids; each must be one token of the vocabulary."""
    return [token_id(token.replace(" ", "\u0120").replace("\n", "\u010a")) for token in tokens]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


PICTURE = {"type": "image_url", "image_url": URL}
VIDEO = {"type": "video_url", "video_url": URL}
FRAMES = {"type": "video_frames", "video_frames": {"frames": [URL, URL]}}
SHAPES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "text alone, as a string": (
        [{"role": "user", "content": "Which image"}],
        [*SYSTEM, *USER, "Which", " image", *END, *ASSISTANT],
    ),
    "an image before its text": (
        [user(PICTURE, text("Which image"))],
        [*SYSTEM, *USER, IMAGE, "\n", "Which", " image", *END, *ASSISTANT],
    ),
    "an image after its text": (
        [user(text("Which image"), PICTURE)],
        [*SYSTEM, *USER, "Which", " image", IMAGE, "\n", *END, *ASSISTANT],
    ),
    "an image between texts": (
        [user(text("Which"), PICTURE, text("image"))],
        [*SYSTEM, *USER, "Which", IMAGE, "\n", "i", "mage", *END, *ASSISTANT],
    ),
    "adjacent images": (
        [user(PICTURE, PICTURE, text("Which image"))],
        [*SYSTEM, *USER, IMAGE, "\n", IMAGE, "\n", "Which", " image", *END, *ASSISTANT],
    ),
    "an image alone": ([user(PICTURE)], [*SYSTEM, *USER, IMAGE, "\n", *END, *ASSISTANT]),
    "white space after an image takes the separator's place": (
        [user(PICTURE, text(" image"), PICTURE, text("\nWhich"))],
        [*SYSTEM, *USER, IMAGE, " image", IMAGE, "\n", "Which", *END, *ASSISTANT],
    ),
    "the request's own system message": (
        [{"role": "system", "content": "Which"}, user(PICTURE)],
        ["<|im_start|>", "system", "\n", "Which", *END, *USER, IMAGE, "\n", *END, *ASSISTANT],
    ),
    "developer is another name of system": (
        [{"role": "developer", "content": [text("Which")]}, user(text("image"))],
        ["<|im_start|>", "system", "\n", "Which", *END, *USER, "i", "mage", *END, *ASSISTANT],
    ),
    "several turns": (
        [user(PICTURE, text("Which")), {"role": "assistant", "content": "Image"}, user(text("Which"))],
        [*SYSTEM, *USER, IMAGE, "\n", "Which", *END, *ASSISTANT, "Image", *END, *USER, "Which", *END, *ASSISTANT],
    ),
    "images in several turns": (
        [user(PICTURE), {"role": "assistant", "content": "Image"}, user(text("Which"), PICTURE)],
        [
            *SYSTEM,
            *USER,
            IMAGE,
            "\n",
            *END,
            *ASSISTANT,
            "Image",
            *END,
            *USER,
            "Which",
            IMAGE,
            "\n",
            *END,
            *ASSISTANT,
        ],
    ),
    "a video of three frames among images": (
        [user(PICTURE, VIDEO, text("Which"), PICTURE)],
        [*SYSTEM, *USER, IMAGE, "\n", IMAGE, "\n", IMAGE, "\n", IMAGE, "\n", "Which", IMAGE, "\n", *END, *ASSISTANT],
    ),
    "frames sampled by the client": (
        [user(FRAMES, text("Which"))],
        [*SYSTEM, *USER, IMAGE, "\n", IMAGE, "\n", "Which", *END, *ASSISTANT],
    ),
    "views with names and without": (
        [
            user(
                {
                    "type": "multi_view",
                    "multi_view": {"views": [{**URL, "name": "CAM_FRONT"}, {**URL, "name": "CAM_BACK"}, URL]},
                },
                text("Which"),
            )
        ],
        [
            *SYSTEM,
            *USER,
            "CAM",
            "_FRONT",
            ":",
            " ",
            IMAGE,
            "\n",
            "CAM",
            "_BACK",
            ":",
            " ",
            IMAGE,
            "\n",
            IMAGE,
            "\n",
            "Which",
            *END,
            *ASSISTANT,
        ],
    ),
    "adjacent texts stand on lines of their own": (
        [user(text("Which"), text("image"), text(" image"), PICTURE)],
        [*SYSTEM, *USER, "Which", "\n", "i", "mage", " image", IMAGE, "\n", *END, *ASSISTANT],
    ),
    "an empty text is nothing": (
        [user(PICTURE, text(""), PICTURE)],
        [*SYSTEM, *USER, IMAGE, "\n", IMAGE, "\n", *END, *ASSISTANT],
    ),
    "a user who types the placeholder": (
        [user(text("<image>"), PICTURE)],
        [*SYSTEM, *USER, "<", "i", "mage", ">", IMAGE, "\n", *END, *ASSISTANT],
    ),
    "a user who types the end of a turn": (
        [user(text("<|im_end|>"))],
        [*SYSTEM, *USER, "<", "|", "i", "m", "_", "en", "d", "|", ">", *END, *ASSISTANT],
    ),
}


def write(messages: list[dict[str, Any]], separator: str = "\n") -> list[int]:
    request = chat_request.parse({"messages": messages})
    counts = {param: {"video_url": 3, "video_frames": 2}.get(part.type, 1) for param, part in request.media_parts()}
    image_token = token_id(IMAGE)
    assert image_token is not None
    writer = PromptWriter(FILE.read_text(), image_token, separator)
    return writer.write(request.messages, {param: (1,) * count for param, count in counts.items()})


@pytest.mark.parametrize("shape", SHAPES)
def test_the_token_sequence_of_a_prompt_is_the_one_written_by_hand(shape: str) -> None:
    messages, expected = SHAPES[shape]
    assert write(messages) == ids(expected)


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "3"}


def written(*messages: dict[str, Any], **options: Any) -> str:
    """The text of the prompt that is written for the messages."""
    token_ids = PromptWriter(FILE.read_text(), token_id(IMAGE)).write(
        chat_request.parse({"messages": messages}).messages, {"messages[0].content[1].image_url": (1,)}, **options
    )
    return TOKENIZER.decode(token_ids, skip_special_tokens=False)


def test_calls_and_results_are_written_in_hermes_format() -> None:
    called = {"role": "assistant", "content": "I count.", "tool_calls": [CALL, CALL]}
    assert written(user(text("x")), called, RESULT, RESULT, user(text("So?"))).split("<|im_end|>\n", 2)[2] == (
        '<|im_start|>assistant\nI count.\n<tool_call>\n{"name": "f", "arguments": {"a":1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "f", "arguments": {"a":1}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n3\n</tool_response>\n<tool_response>\n3\n</tool_response><|im_end|>\n"
        "<|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_call_without_text_and_an_empty_result_are_written_alone() -> None:
    called = {"role": "assistant", "tool_calls": [CALL]}
    assert written(user(text("x")), called, {"role": "tool"}).split("<|im_end|>\n", 2)[2] == (
        '<|im_start|>assistant\n<tool_call>\n{"name": "f", "arguments": {"a":1}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_system_message_that_is_repeated_has_the_definitions_once() -> None:
    called = {"role": "assistant", "tool_calls": [CALL]}
    prompt = written(user(text("x")), called, RESULT, style="bench", definitions="\n\n# Tools")
    assert (prompt.count("You are a helpful assistant."), prompt.count("# Tools")) == (2, 1)
    assert prompt.index("# Tools") < prompt.index("<|im_start|>user")


def test_definitions_end_the_system_message_and_a_beginning_the_prompt() -> None:
    definitions = "\n\n# Tools"
    start = "<|im_start|>system\n"
    assert written(user(text("x")), definitions=definitions).startswith(
        f"{start}You are a helpful assistant.{definitions}<|im_end|>\n<|im_start|>user\n"
    )
    own = written({"role": "system", "content": "Be brief."}, user(text("x")), definitions=definitions)
    assert own.startswith(f"{start}Be brief.{definitions}<|im_end|>\n<|im_start|>user\n")
    assert own.count("# Tools") == 1
    assert written(user(text("x")), beginning="<tool_call>").endswith("<|im_start|>assistant\n<tool_call>")


@pytest.mark.parametrize("place", ["arguments", "name", "content", "definitions"])
def test_text_of_tools_never_becomes_a_control_token(place: str) -> None:
    words = "<|im_end|><image>"
    call = {"function": {"name": "f", "arguments": "{}"} | ({place: words} if place in ("arguments", "name") else {})}
    messages = [user(text("x")), {"role": "assistant", "tool_calls": [call]}, RESULT | {"content": words}]
    plain = written(*messages[: 2 if place in ("arguments", "name") else 3], definitions=words)
    assert words in plain  # and so decoded from the tokens of its characters
    token_ids = PromptWriter(FILE.read_text(), token_id(IMAGE)).write(
        chat_request.parse({"messages": messages}).messages, {}, definitions=words
    )
    assert token_ids.count(token_id("<|im_end|>")) == 4
    assert token_id(IMAGE) not in token_ids


def test_another_separator_takes_the_place_of_the_newline_after_an_image() -> None:
    expected = [*SYSTEM, *USER, IMAGE, " image", IMAGE, " image", "Which", *END, *ASSISTANT]
    assert write([user(PICTURE, PICTURE, text("Which"))], " image") == ids(expected)


def test_an_empty_separator_adds_no_token_after_an_image() -> None:
    assert write([user(PICTURE, text("Which"))], "") == ids([*SYSTEM, *USER, IMAGE, "Which", *END, *ASSISTANT])


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["<image>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "system", "\n", " ", "a"])))
def test_text_of_a_user_never_becomes_a_control_token(words: list[str]) -> None:
    tokens = write([user(text("".join(words)))])
    body = tokens[len(SYSTEM) + len(USER) : -len(END + ASSISTANT)]
    assert CONTROLS.isdisjoint(body)
    assert TOKENIZER.decode(body, skip_special_tokens=False) == "".join(words)


def test_a_tokeniser_without_chatml_is_refused() -> None:
    plain = Tokenizer.from_str(FILE.read_text().replace("<|im_start|>", "<|begin|>"))
    with pytest.raises(ValueError, match=r"no token '<\|im_start\|>'"):
        PromptWriter(plain.to_str(), 0)
