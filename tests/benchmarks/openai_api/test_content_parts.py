"""Content parts are spelt as the API spells them, with files in them byte for byte."""

import base64

from llava_interleave_serve.benchmarks.openai_api import content_parts


def test_a_data_url_holds_the_media_type_and_the_bytes() -> None:
    url = content_parts.data_url(b"\x00\xffabc", "image/png")
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == b"\x00\xffabc"


def test_a_text_part_keeps_its_text_unchanged() -> None:
    assert content_parts.text_part(" a\n") == {"type": "text", "text": " a\n"}


def test_the_options_of_a_content_part_stand_beside_the_url() -> None:
    assert content_parts.image_part("u") == {"type": "image_url", "image_url": {"url": "u"}}
    assert content_parts.image_part("u", pooling="max") == {
        "type": "image_url",
        "image_url": {"url": "u", "pooling": "max"},
    }
    assert content_parts.video_part("u", num_frames=8) == {
        "type": "video_url",
        "video_url": {"url": "u", "num_frames": 8},
    }
