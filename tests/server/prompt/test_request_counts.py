"""Counts of a body that is not validated yet: what there is too much of, and what is left to the validation."""

from typing import Any

import pytest

from llava_interleave_serve.server.errors import LimitExceeded
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.prompt import request_counts

LIMITS = Limits(max_messages=2, max_text_parts=3, max_media_parts=2, max_visuals=4)
TEXT = {"type": "text", "text": "x"}
IMAGE = {"type": "image_url", "image_url": {"url": "x"}}


def frames(count: int) -> dict[str, Any]:
    return {"type": "video_frames", "video_frames": {"frames": [{}] * count}}


def views(count: int) -> dict[str, Any]:
    return {"type": "multi_view", "multi_view": {"views": [{}] * count}}


def body(*contents: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


@pytest.mark.parametrize(
    ("body", "param", "count"),
    [
        (body("x", "x", "x"), "messages", "3 messages"),
        (body([TEXT] * 3, "x"), "messages", "4 text parts"),
        (body([TEXT], [TEXT, IMAGE, IMAGE, IMAGE, IMAGE]), "messages[1].content[3].image_url", "4 images"),
        (body([frames(4), views(1)]), "messages[0].content[1].multi_view", "5 visuals"),
    ],
    ids=["messages", "text parts", "media parts", "visuals"],
)
def test_what_there_is_too_much_of_is_named_with_its_number(body: Any, param: str, count: str) -> None:
    with pytest.raises(LimitExceeded, match=count) as refusal:
        request_counts.check(body, LIMITS)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    "body",
    [
        body([TEXT] * 3 + [IMAGE] * 2),
        body([frames(2), views(2)]),
        body([{}] * 100, [7, None, {"type": ["text"]}, {"type": "video_frames", "video_frames": [1]}]),
        body(7, None),
        {"messages": [None, 7]},
        {"messages": {}},
        {},
        [],
        None,
    ],
    ids=range(9),
)
def test_what_is_within_the_limits_or_no_part_is_left_to_the_validation(body: Any) -> None:
    request_counts.check(body, LIMITS)
