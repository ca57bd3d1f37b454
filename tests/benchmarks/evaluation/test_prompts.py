"""Prompts are those of the reference evaluation: texts as they stand, visuals between them in order."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer

from llava_interleave_serve.benchmarks.evaluation import prompts
from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError, Medium, QuestionAnswer, Record
from llava_interleave_serve.benchmarks.evaluation.prompts import VisualOptions
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.data_url import decode_data_url
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.observability.timing import RequestTiming
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.prompt_writer import PromptWriter
from tests.support import datasets
from tests.support.image_files import encode

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


def seen(content: bytes) -> np.ndarray:
    """The view that our server makes of a picture as the evaluation sends it."""
    url = prompts.medium_data_url(Medium("image", "x", lambda: content))
    data = decode_data_url(url.encode(), "image", 1 << 24)
    return np.asarray(decode_image(data, SquareResize(32), Limits(), RequestTiming()).views[0], int)


def test_a_jpeg_with_further_pictures_is_sent_as_it_is() -> None:
    """Phones write such files, which Pillow calls MPO."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (32, 32), "blue")
    picture.paste("red", (0, 0, 16, 16))
    content = encode(picture, "MPO", save_all=True, append_images=[picture], exif=exif)
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "MPO"
    expected = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
    assert prompts.medium_data_url(Medium("image", "x.jpg", lambda: content)) == expected
    assert seen(content)[4, 28, 0] > 200  # the red corner, turned to the right


def test_16_bits_of_grey_stay_16_bits() -> None:
    ramp = Image.fromarray(np.tile(np.linspace(0, 65_535, 32).astype(np.uint16), (32, 1)))
    for content in (encode(ramp, "TIFF"), encode(ramp, "JPEG2000")):
        assert (seen(content) == seen(encode(ramp, "PNG"))).all()
        assert abs(seen(content).mean() - 127.5) < 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_of_a_picture_stays(mode: str) -> None:
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (0, 0, 16, 32))
    pixels = seen(encode(clear.convert(mode), "TIFF"))
    assert (pixels[:, 20:] == 255).all()
    assert (pixels[:, :12] < 255).any()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_picture_that_is_written_anew_is_turned(orientation: int) -> None:
    picture = Image.new("RGB", (32, 32), "blue")
    picture.paste("red", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.abs(seen(encode(picture, "TIFF", exif=exif)) - seen(encode(picture, "PNG", exif=exif))).max() <= 1


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
    ids = PromptWriter(text, placeholder).write(request.messages, {param: (1,) for param, _ in request.media_parts()})

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
