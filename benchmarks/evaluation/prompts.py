r"""From a record to messages, as the reference evaluation builds its prompts (LLaVA-NeXT, llava/eval/model_vqa.py).

A question is split at every `<image>` (or `<video>`); the pieces are text parts exactly as they stand, with the visuals
between them, in order. The newline after a visual is the server's to write (docs/http.md). Where a conversation marks
no place at all, its visuals stand before the first question, a space between them and a newline after the last, as
lmms-eval writes `" ".join(["<image>"] * n) + "\n" + question`.
"""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, UnidentifiedImageError

from llava_interleave_serve.benchmarks.evaluation.dataset.records import BenchError, Medium, Record

MARK = re.compile("<image>|<video>")
SERVED = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp"}
VIDEO_TYPE = "video/mp4"  # servers look at the content, not at the name

Piece = str | Medium


@dataclass(frozen=True, slots=True)
class Visuals:
    """What is asked of the server beside each image and video; nothing unless it is set.

    pooling, pool_stride: of every visual. num_frames: of every video.
    """

    pooling: str | None = None
    pool_stride: int | None = None
    num_frames: int | None = None

    def options(self, kind: str) -> dict[str, Any]:
        """The fields beside `url` in a part of this kind."""
        options = {"pooling": self.pooling, "pool_stride": self.pool_stride}
        if kind == "video":
            options["num_frames"] = self.num_frames
        return {name: value for name, value in options.items() if value is not None}


def pieces(record: Record) -> list[list[Piece]]:
    """The texts and visuals of each turn, in order, none empty.

    Raises BenchError if the marks and the visuals are not equally many.
    """
    questions = [turn.question for turn in record.turns]
    marks = sum(len(MARK.findall(question)) for question in questions)
    if not marks and record.media:
        questions[0] = " ".join(["<image>"] * len(record.media)) + "\n" + questions[0]
    elif marks != len(record.media):
        raise BenchError(f"{record.place}: marks {marks} places for {len(record.media)} images or videos")
    media = iter(record.media)
    return [_split(question, media) for question in questions]


def _split(question: str, media: Any) -> list[Piece]:
    first, *rest = MARK.split(question)
    found: list[Piece] = [first]
    for text in rest:
        found += [next(media), text]
    return [piece for piece in found if piece]


def content(turn: Sequence[Piece], visuals: Visuals) -> list[dict[str, Any]]:
    """One turn as the parts of a user message. Raises BenchError for a picture that cannot be read."""
    return [
        {"type": "text", "text": piece} if isinstance(piece, str) else _part(piece, visuals.options(piece.kind))
        for piece in turn
    ]


def _part(medium: Medium, options: dict[str, Any]) -> dict[str, Any]:
    name = f"{medium.kind}_url"
    return {"type": name, name: {"url": data_url(medium), **options}}


def data_url(medium: Medium) -> str:
    """The medium's file as it is; a picture in a format that servers do not take becomes a PNG first."""
    data = medium.read()
    content_type = VIDEO_TYPE
    if medium.kind == "image":
        try:
            with Image.open(io.BytesIO(data)) as picture:
                if picture.format not in SERVED:
                    data = _png(picture)
                content_type = SERVED.get(str(picture.format), SERVED["PNG"])
        except (UnidentifiedImageError, OSError) as error:
            raise BenchError(f"{medium.name} is no picture: {error}") from None
    return f"data:{content_type};base64,{base64.b64encode(data).decode()}"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
