"""Prompts are those of the reference evaluation: texts as they stand, visuals between them in order."""

import base64
import io
from typing import Any

import pytest
from PIL import Image
from tokenizers import Tokenizer

from llava_interleave_serve.benchmarks.evaluation import prompts
from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError, Medium, QuestionAnswer, Record
from llava_interleave_serve.benchmarks.evaluation.prompts import VisualOptions
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.prompt_writer import PromptWriter
from tests.support import datasets

PNG = datasets.picture(3)


def image(number: int) -> Medium:
    return Medium("image", f"{number}.png", lambda: datasets.picture(number))


def record(*questions: str, media: tuple[Medium, ...] = ()) -> Record:
    turns = tuple(QuestionAnswer(question, "answer") for question in questions)
    return Record("records.json", 4, "id", "RAVEN", "open-ended", turns, media)


ONE, TWO, THREE = image(1), image(2), image(3)


@pytest.mark.parametrize(
    ("questions", "media", "pieces"),
    [
        (["Look: <image>\nWhat?"], [ONE], [["Look: ", ONE, "\nWhat?"]]),
        (["<image><image> and <image>"], [ONE, TWO, THREE], [[ONE, TWO, " and ", THREE]]),
        (["No picture."], [], [["No picture."]]),
        (["First: <image>", "Then: <image>?"], [ONE, TWO], [["First: ", ONE], ["Then: ", TWO, "?"]]),
        (["<image> Both: <image>", "Which?"], [ONE, TWO], [[ONE, " Both: ", TWO], ["Which?"]]),
        (["What?"], [ONE], [[ONE, "\nWhat?"]]),  # unmarked: in front, as lmms-eval puts them
        (["What?", "And?"], [ONE, TWO, THREE], [[ONE, " ", TWO, " ", THREE, "\nWhat?"], ["And?"]]),
        (["<video>\nWhat?"], [ONE], [[ONE, "\nWhat?"]]),
    ],
)
def test_a_question_is_split_into_texts_and_visuals_in_order(
    questions: list[str], media: list[Medium], pieces: list[list[Any]]
) -> None:
    assert prompts.split_questions(record(*questions, media=tuple(media))) == pieces


@pytest.mark.parametrize(("question", "count"), [("<image><image>?", 1), ("<image>?", 0), ("<image>?", 2)])
def test_a_record_whose_marks_and_visuals_differ_in_number_is_an_error(question: str, count: int) -> None:
    with pytest.raises(DatasetError, match=r"records\.json, record 4 \(sample_id id\): marks \d places for"):
        prompts.split_questions(record(question, media=tuple(map(image, range(count)))))


def test_message_parts_hold_the_media_files_unchanged() -> None:
    jpeg = datasets.picture(2, "JPEG")
    parts = prompts.message_content(["Look: ", Medium("image", "x", lambda: jpeg), "\nWhat?"], VisualOptions())
    url = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    assert parts == [
        {"type": "text", "text": "Look: "},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "\nWhat?"},
    ]


def test_a_format_that_servers_do_not_take_becomes_a_png_of_the_same_pixels() -> None:
    url = prompts.medium_data_url(Medium("image", "x", lambda: datasets.picture(9, "TIFF")))
    assert url.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as sent:
        assert sent.getpixel((0, 0)) == (9 * 37 % 256, 9 * 91 % 256, 9 * 53 % 256)


def test_a_file_that_is_no_picture_is_an_error() -> None:
    with pytest.raises(DatasetError, match=r"x\.png is no picture"):
        prompts.medium_data_url(Medium("image", "x.png", lambda: b"text"))


@pytest.mark.parametrize(
    ("options", "image_fields", "video_fields"),
    [
        (VisualOptions(), {}, {}),
        (VisualOptions("max", 3), {"pooling": "max", "pool_stride": 3}, {"pooling": "max", "pool_stride": 3}),
        (VisualOptions("none", None, 10), {"pooling": "none"}, {"pooling": "none", "num_frames": 10}),
    ],
)
def test_visual_options_stand_beside_the_url(
    options: VisualOptions, image_fields: dict[str, Any], video_fields: dict[str, Any]
) -> None:
    video = Medium("video", "v.mp4", lambda: b"mp4")
    first, second = prompts.message_content([ONE, video], options)
    assert {name: value for name, value in first["image_url"].items() if name != "url"} == image_fields
    assert {name: value for name, value in second["video_url"].items() if name != "url"} == video_fields
    assert second["video_url"]["url"] == "data:video/mp4;base64,bXA0"


@pytest.mark.parametrize(
    "question", ["Look: <image>here, and <image>there?", "<image><image>Which?", "At last: <image>"]
)
def test_our_server_writes_the_prompt_of_the_reference_evaluation(question: str) -> None:
    media = tuple(map(image, range(question.count("<image>"))))
    (turn,) = prompts.split_questions(record(question, media=media))
    message = {"role": "user", "content": prompts.message_content(turn, VisualOptions("average", 2))}
    request = chat_request.parse({"messages": [message]})
    text = (DEMO_CHECKPOINT / "tokenizer.json").read_text()
    tokenizer = Tokenizer.from_str(text)
    special = ("<image>", "<|im_start|>", "<|im_end|>")
    placeholder, start, end = (tokenizer.get_vocab(with_added_tokens=True)[token] for token in special)
    ids = PromptWriter(text, placeholder).write(request.messages, {param: 1 for param, _ in request.media_parts()})

    # model_vqa.py: every piece tokenised on its own, and after each but the last the image and a newline.
    def plain(piece: str) -> list[int]:
        return tokenizer.encode(piece, add_special_tokens=False).ids

    first, *rest = question.split("<image>")
    content = plain(first)
    for piece in rest:
        content += [placeholder, *plain("\n"), *plain(piece)]
    newline = plain("\n")
    system = [start, *plain("system"), *newline, *plain("You are a helpful assistant."), end, *newline]
    user = [start, *plain("user"), *newline, *content, end, *newline]
    assert ids == [*system, *user, start, *plain("assistant"), *newline]


def test_our_server_takes_videos_with_their_options() -> None:
    video = Medium("video", "v.mp4", lambda: b"mp4")
    content = prompts.message_content([video, "\nWhy?"], VisualOptions("max", 4, 10))
    request = chat_request.parse(
        {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 16}
    )
    ((_, part),) = request.media_parts()
    assert isinstance(part, chat_request.VideoPart)
    assert (part.video_url.num_frames, part.video_url.pooling, part.video_url.pool_stride) == (10, "max", 4)
