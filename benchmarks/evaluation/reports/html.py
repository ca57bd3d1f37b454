"""A page that shows every answer with its pictures: one HTML file that needs nothing else."""

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image, UnidentifiedImageError

from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError, Medium
from llava_interleave_serve.benchmarks.evaluation.reports import markdown
from llava_interleave_serve.benchmarks.evaluation.reports.markdown import percent
from llava_interleave_serve.benchmarks.evaluation.scoring import aggregate, paper_results
from llava_interleave_serve.benchmarks.evaluation.scoring.aggregate import DatasetResult, ScoredAnswer, SplitResult
from llava_interleave_serve.benchmarks.evaluation.scoring.metrics import MULTI_CHOICE
from llava_interleave_serve.benchmarks.load.reports.page import STYLE_SHEET
from llava_interleave_serve.benchmarks.openai_api import content_parts

TEMPLATE = Path(__file__).with_name("report.html.jinja")
SIDE = 128  # pixels of a thumbnail's longer side
QUALITY = 60
FRAMES = 4  # thumbnails of a video


def write(path: Path, found: Sequence[DatasetResult], tables: Sequence[SplitResult], limit: int) -> None:
    """Writes the page: the scores, and the first `limit` answers of every data set."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(TEMPLATE.read_text())
    categories = [category for one in tables for category in one.categories]
    sets = [{"name": one.name, "answers": len(one.answers), "shown": min(limit, len(one.answers))} for one in found]
    entries = (_entry(one, answer) for one in found for answer in one.answers[:limit])
    with path.open("w") as file:
        file.writelines(
            template.generate(
                style=STYLE_SHEET.read_text(),
                tiles=_tiles(found, tables),
                splits=[_split(one) for one in tables],
                models=paper_results.MODELS,
                # Emphasis is for the Markdown that says the same.
                notes=[note.strip("*").replace("\\*", "*") for note in markdown.notes(categories)],
                data_sets=sets,
                entries=entries,
            )
        )


def _tiles(found: Sequence[DatasetResult], tables: Sequence[SplitResult]) -> list[tuple[str, str, str]]:
    """Large figures: text, name, and a mood of the style sheet's."""
    categories = [category for one in tables for category in one.categories]
    unanswered, refused = sum(one.unanswered for one in found), sum(one.refused for one in found)
    splits = [(percent(aggregate.mean_score(one.categories)), one.title, "") for one in tables]
    return [
        (percent(aggregate.mean_score(categories)), "all categories", ""),
        *(splits if len(splits) > 1 else []),
        (f"{sum(len(one.answers) for one in found):,}", "answers", ""),
        (f"{refused:,}", "refused", "bad" if refused else ""),
        (f"{unanswered:,}", "not answered yet", "bad" if unanswered else ""),
    ]


def _split(one: SplitResult) -> dict[str, Any]:
    """A table of the page: its categories, and below each the data sets that are not its namesakes."""
    rows = []
    for category in one.categories:
        title = category.row.title + ("*" if category.row.judged else "")
        count = sum(len(data_set.values) for data_set in category.datasets)
        # A judgement is no share, and has no place beside one.
        peers = () if category.row.judged else tuple(zip(paper_results.MODELS, category.row.numbers, strict=True))
        row = {"title": title, "n": count, "score": category.score, "chance": category.chance, "inner": False}
        rows.append(row | {"numbers": category.row.numbers, "peers": [peer for peer in peers if peer[1]]})
        if len(category.datasets) > 1:
            rows += [_inner(data_set) for data_set in category.datasets]
    return {"title": one.title, "rows": rows, "average": aggregate.mean_score(one.categories), "numbers": one.average}


def _inner(one: DatasetResult) -> dict[str, Any]:
    row = {"title": one.name, "n": len(one.values), "score": one.score, "chance": None, "inner": True}
    return row | {"numbers": paper_results.NO_NUMBERS, "peers": []}


def _entry(data_set: DatasetResult, answer: ScoredAnswer) -> dict[str, Any]:
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
    except (UnidentifiedImageError, OSError, DatasetError):
        return []


def _frames(data: bytes) -> list[Image.Image]:
    """A few of a video's key frames, spread over it: quick to reach, and near enough for a thumbnail."""
    import av  # noqa: PLC0415 - slow to import, for videos alone

    try:
        with av.open(io.BytesIO(data), "r") as video:
            frames = []
            for at in range(FRAMES):
                video.seek((video.duration or 0) * at // FRAMES)
                frames.append(Image.fromarray(next(video.decode(video=0)).to_ndarray(format="rgb24")))
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise OSError(f"not a video: {error}") from None
    return frames


def _thumbnail(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return content_parts.data_url(buffer.getvalue(), "image/jpeg")
