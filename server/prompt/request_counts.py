"""The numbers of messages, parts and visuals of a decoded body, held against the limits before it is validated.

A validated part takes some hundred bytes, and an error as many; so what there is too much of is refused by its count.
"""

from collections.abc import Iterator
from typing import Any

from llava_interleave_serve.server.errors import LimitExceeded
from llava_interleave_serve.server.limits import Limits

VISUAL_LISTS = {"video_frames": "frames", "multi_view": "views"}
TEXT_TYPES = ("text", "refusal")
MEDIA_TYPES = frozenset({"image_url", "video_url", *VISUAL_LISTS})


def check(body: Any, limits: Limits) -> None:
    """Raises LimitExceeded for more tools, messages, text parts, media parts, or frames and views, than allowed.

    A call of a tool counts as a text part. What is no message or no part is left to the validation.
    """
    if not isinstance(body, dict):
        return
    for field, most in (("tools", limits.max_tools), ("messages", limits.max_messages)):
        items = body.get(field)
        if isinstance(items, list) and len(items) > most:
            raise LimitExceeded(f"the request has {len(items)} {field}, more than the {most} allowed", param=field)
    if isinstance(messages := body.get("messages"), list):
        _check_messages(messages, limits)


def _check_messages(messages: list[Any], limits: Limits) -> None:
    texts, media, visuals, first_over = 0, 0, 0, ""
    for message, number, part in _parts(messages):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in TEXT_TYPES:
            texts += 1
        elif isinstance(kind, str) and kind in MEDIA_TYPES:
            param = f"messages[{message}].content[{number}].{kind}"
            visuals += _listed_visuals(part, kind)
            if visuals > limits.max_visuals:
                raise visuals_exceeded(visuals, limits, param)
            if media == limits.max_media_parts:
                first_over = param
            media += 1
    if texts > limits.max_text_parts:
        raise LimitExceeded(
            f"the request has {texts} text parts, more than the {limits.max_text_parts} allowed", param="messages"
        )
    if first_over:
        raise media_parts_exceeded(media, limits, first_over)


def media_parts_exceeded(count: int, limits: Limits, param: str) -> LimitExceeded:
    """The error of too many media parts. param: path of the first that is too many."""
    return LimitExceeded(
        f"the request has {count} images, videos, frame lists and view sets, more than the {limits.max_media_parts} "
        "allowed",
        param=param,
    )


def visuals_exceeded(count: int, limits: Limits, param: str) -> LimitExceeded:
    """The error of too many visuals. count: those up to the part at `param`, with it."""
    return LimitExceeded(
        f"with this part the request may have {count} visuals (images, video frames and views), more than "
        f"the {limits.max_visuals} allowed",
        param=param,
    )


def _parts(messages: list[Any]) -> Iterator[tuple[int, int, Any]]:
    """Yields each part with the index of its message and its own; a string for content, and a call, are a text part."""
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            yield index, 0, {"type": "text"}
        elif isinstance(content, list):
            for number, part in enumerate(content):
                yield index, number, part
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        if isinstance(calls, list):
            for _ in calls:
                yield index, 0, {"type": "text"}


def _listed_visuals(part: dict[str, Any], kind: str) -> int:
    """The number of frames or views that the part lists; 0 if it lists none."""
    options = part.get(kind)
    listed = options.get(VISUAL_LISTS[kind]) if kind in VISUAL_LISTS and isinstance(options, dict) else None
    return len(listed) if isinstance(listed, list) else 0
