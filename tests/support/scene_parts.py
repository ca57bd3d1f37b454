"""Pictures and videos of the demo's scenes, as data URLs and message parts."""

import base64
import io
import random
from typing import Any

from PIL import Image

from llava_interleave_serve.demo.scenes import questions
from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.message_parts import message_parts


def image_url(number: int, size: int = 160, kind: str = "PNG") -> str:
    """The data URL of a picture that differs from that of every other number."""
    scene = questions.single_image(random.Random(f"test picture {number}"), 1).scenes[0]
    buffer = io.BytesIO()
    Image.fromarray(scene.draw(size)).save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def image_part(number: int, **options: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": image_url(number), **options}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def question(family: str, seed: int) -> tuple[list[dict[str, Any]], str]:
    """A question of one of the demo's families as message parts, and its right answer."""
    conversation = FAMILIES[family](random.Random(f"test {family} {seed}"))
    return message_parts(conversation, random.Random(seed), {}), conversation.turns[0].answer
