r"""Turns records into chat messages, as the reference evaluation does (LLaVA-NeXT, llava/eval/model_vqa.py).

A question is split at every `<image>` or `<video>` mark. The texts between the marks become text parts exactly as they
are, and the visuals stand between them in order. The server writes the newline after a visual (docs/http.md). If a
conversation has no marks at all, its visuals stand before the first question, with a space between them and a newline
after the last, as lmms-eval's `" ".join(["<image>"] * n) + "\n" + question` has them.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError, Medium, Record
from llava_interleave_serve.benchmarks.openai_api import content_parts

VISUAL_MARK = re.compile("<image>|<video>")
# By Pillow's name, the media types of the image formats that servers decode.
SERVED_IMAGE_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "AVIF": "image/avif",
    "MPO": "image/jpeg",  # Pillow's name of a JPEG with further pictures behind the first, as phones write it
}
VIDEO_TYPE = "video/mp4"  # of every video: servers look at the content, not at the name

Piece = str | Medium


@dataclass(frozen=True, slots=True)
class VisualOptions:
    """Options that are sent with each image and video; None leaves the choice to the server.

    Attributes:
        pooling: The pooling of every image and frame: `none`, `average`, `max` or `bilinear`.
        pool_stride: The pooling's stride.
        num_frames: How many frames are sampled from every video.

    """

    pooling: str | None = None
    pool_stride: int | None = None
    num_frames: int | None = None

    def part_fields(self, kind: str) -> dict[str, Any]:
        """Returns the fields beside `url` in an `image` or `video` part."""
        fields = {"pooling": self.pooling, "pool_stride": self.pool_stride}
        if kind == "video":
            fields["num_frames"] = self.num_frames
        return {name: value for name, value in fields.items() if value is not None}


def split_questions(record: Record) -> list[list[Piece]]:
    """Returns the texts and visuals of each turn's question, in order; no text is empty.

    Raises DatasetError if the record has marks, but not as many as visuals.
    """
    questions = [turn.question for turn in record.turns]
    marks = sum(len(VISUAL_MARK.findall(question)) for question in questions)
    if not marks and record.media:
        questions[0] = " ".join(["<image>"] * len(record.media)) + "\n" + questions[0]
    elif marks != len(record.media):
        raise record.location.error(f"marks {marks} places for {len(record.media)} images or videos")
    media = iter(record.media)
    return [_split(question, media) for question in questions]


def _split(question: str, media: Iterator[Medium]) -> list[Piece]:
    first, *rest = VISUAL_MARK.split(question)
    pieces: list[Piece] = [first]
    for text in rest:
        pieces += [next(media), text]
    return [piece for piece in pieces if piece]


def message_content(pieces: Sequence[Piece], options: VisualOptions) -> list[dict[str, Any]]:
    """Returns a turn's pieces as the parts of a user message. Raises DatasetError for a picture that cannot be read."""
    return [
        content_parts.text_part(piece) if isinstance(piece, str) else _visual_part(piece, options) for piece in pieces
    ]


def _visual_part(medium: Medium, options: VisualOptions) -> dict[str, Any]:
    part = content_parts.image_part if medium.kind == "image" else content_parts.video_part
    return part(medium_data_url(medium), **options.part_fields(medium.kind))


def medium_data_url(medium: Medium) -> str:
    """Returns the medium's file, byte for byte, as a data URL; a picture in a format that is not served, as a PNG.

    Raises DatasetError for a picture that cannot be read.
    """
    content = medium.read()
    media_type = VIDEO_TYPE
    if medium.kind == "image":
        try:
            with Image.open(io.BytesIO(content)) as picture:
                if picture.format not in SERVED_IMAGE_TYPES:
                    content = _png(picture)
                media_type = SERVED_IMAGE_TYPES.get(str(picture.format), SERVED_IMAGE_TYPES["PNG"])
        except (UnidentifiedImageError, OSError) as error:
            raise DatasetError(f"{medium.name} is no picture: {error}") from None
    return content_parts.data_url(content, media_type)


def _png(picture: Image.Image) -> bytes:
    """Returns a picture as a PNG that shows the same: turned as it is shown, with its transparency and 16 bits of grey.

    What the server makes of transparency and of 16 bits then does not depend on the format of the file.
    """
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16))
    else:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
