"""A page that shows every answer with its pictures: one HTML file that needs nothing else."""

import base64
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image, UnidentifiedImageError

from llava_interleave_serve.benchmarks.evaluation.bench import BenchError, Medium
from llava_interleave_serve.benchmarks.evaluation.metrics import MULTI_CHOICE
from llava_interleave_serve.benchmarks.evaluation.scores import DataSet, Scored

TEMPLATE = Path(__file__).with_name("report.html.jinja")
SIDE = 128  # pixels of a thumbnail's longer side
QUALITY = 60
FRAMES = 4  # thumbnails of a video


def write(path: Path, found: Sequence[DataSet], table: str, limit: int) -> None:
    """Writes the page, with the first `limit` answers of every data set. table: what stands above them."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(TEMPLATE.read_text())
    sets = [{"name": one.name, "answers": len(one.answers), "shown": min(limit, len(one.answers))} for one in found]
    entries = (_entry(one, answer) for one in found for answer in one.answers[:limit])
    with path.open("w") as file:
        file.writelines(template.generate(table=table, data_sets=sets, entries=entries))


def _entry(data_set: DataSet, answer: Scored) -> dict[str, Any]:
    asked = answer.record.turns[answer.turn]
    # The pictures stand with the first turn; later ones talk about the same.
    media = answer.record.media if answer.turn == 0 else ()
    return {
        "data_set": data_set.name,
        "sample_id": answer.record.sample_id,
        "turn": answer.turn + 1 if len(answer.record.turns) > 1 else None,
        "pictures": list(itertools.chain.from_iterable(map(thumbnails, media))),
        "question": asked.question,
        "truth": asked.answer,
        "said": answer.prediction,
        "refused": answer.refused,
        "score": None if answer.value is None else f"{100 * answer.value:.0f}",
        "verdict": _verdict(data_set.metric, answer.value),
    }


def _verdict(metric: str | None, value: float | None) -> str:
    """`right` or `wrong` for a choice; an open answer is neither, unless it has nothing in common with the truth."""
    if value is None:
        return "uncounted"
    if metric == MULTI_CHOICE:
        return "right" if value else "wrong"
    return "partly" if value else "wrong"


def thumbnails(medium: Medium) -> list[str]:
    """Small JPEGs of an image, or of a few frames of a video, as data URLs; none of what cannot be read."""
    try:
        pictures = _frames(medium.read()) if medium.kind == "video" else [Image.open(io.BytesIO(medium.read()))]
        return [_thumbnail(picture) for picture in pictures]
    except (UnidentifiedImageError, OSError, BenchError):
        return []


def _frames(data: bytes) -> list[Image.Image]:
    from decord import DECORDError, VideoReader  # slow to import, for videos alone

    try:
        video = VideoReader(io.BytesIO(data))
        frames = video.get_batch([round(at) for at in np.linspace(0, len(video) - 1, FRAMES)]).asnumpy()
    except (DECORDError, RuntimeError) as error:
        raise OSError(f"not a video: {error}") from None
    return [Image.fromarray(frame) for frame in frames]


def _thumbnail(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
