"""HTML page that shows the scores, and every answer with its pictures: one file that needs nothing else."""

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image, UnidentifiedImageError

from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError, Medium
from llava_interleave_serve.benchmarks.evaluation.reports import markdown
from llava_interleave_serve.benchmarks.evaluation.reports.markdown import percent
from llava_interleave_serve.benchmarks.evaluation.scoring import aggregate, paper_results
from llava_interleave_serve.benchmarks.evaluation.scoring.aggregate import (
    CategoryResult,
    DatasetResult,
    ScoredAnswer,
    SplitResult,
)
from llava_interleave_serve.benchmarks.evaluation.scoring.metrics import MULTI_CHOICE
from llava_interleave_serve.benchmarks.openai_api import content_parts
from llava_interleave_serve.benchmarks.reporting import pages
from llava_interleave_serve.benchmarks.reporting.pages import Tile

TEMPLATE = Path(__file__).with_name("report.html.jinja")
SIDE = 128  # pixels of a thumbnail's longer side
QUALITY = 60  # of its JPEG
FRAMES = 4  # thumbnails of a video

Verdict = Literal["right", "wrong", "partly", "uncounted"]


class PaperScore(NamedTuple):
    """A score of the paper that has a mark in the bar."""

    model: str
    number: str
    """Percent, as printed."""


class ScoreRow(NamedTuple):
    """A row of a split's table: a category, or one of its datasets."""

    title: str
    n: int
    """Answers that count."""
    score: float | None
    """0 to 1."""
    chance: float | None
    """Score of guessing, 0 to 1, if known."""
    inner: bool
    """True for a dataset below its category."""
    numbers: paper_results.Numbers
    """The paper's numbers, one a model."""
    marks: Sequence[PaperScore]


class SplitTable(NamedTuple):
    """The table of a split."""

    title: str
    rows: Sequence[ScoreRow]
    average: float | None
    numbers: paper_results.Numbers
    """The paper's averages."""


class DatasetOption(NamedTuple):
    """A choice of the form that selects answers."""

    name: str
    answers: int
    listed: int
    """Answers that are on the page."""


class Entry(NamedTuple):
    """A card of the page: one answered turn."""

    dataset: str
    sample_id: str
    turn: int | None
    """Number of the turn, from 1; None if the conversation has one."""
    pictures: Sequence[str]
    """Thumbnails as data URLs."""
    question: str
    truth: str
    prediction: str
    refused: str | None
    score: str | None
    """Percent; None if the answer does not count."""
    verdict: Verdict


def write(path: Path, datasets: Sequence[DatasetResult], split_results: Sequence[SplitResult], limit: int) -> None:
    """Writes the page: the scores, and the first `limit` answers of every dataset."""
    categories = [category for split in split_results for category in split.categories]
    pieces = pages.template(TEMPLATE).generate(
        tiles=_tiles(datasets, split_results),
        splits=[_split_table(split) for split in split_results],
        models=paper_results.MODELS,
        # Emphasis is for the Markdown report.
        notes=[note.strip("*").replace("\\*", "*") for note in markdown.notes(categories)],
        datasets=[
            DatasetOption(dataset.name, len(dataset.answers), min(limit, len(dataset.answers))) for dataset in datasets
        ],
        entries=(_entry(dataset, answer) for dataset in datasets for answer in dataset.answers[:limit]),
    )
    with path.open("w") as file:
        file.writelines(pieces)


def _tiles(datasets: Sequence[DatasetResult], split_results: Sequence[SplitResult]) -> list[Tile]:
    categories = [category for split in split_results for category in split.categories]
    unanswered = sum(dataset.unanswered for dataset in datasets)
    refused = sum(dataset.refused for dataset in datasets)
    splits = [Tile(split.title, percent(aggregate.mean_score(split.categories))) for split in split_results]
    return [
        Tile("all categories", percent(aggregate.mean_score(categories))),
        *(splits if len(splits) > 1 else []),
        Tile("answers", f"{sum(len(dataset.answers) for dataset in datasets):,}"),
        Tile("refused", f"{refused:,}", "bad" if refused else ""),
        Tile("not answered yet", f"{unanswered:,}", "bad" if unanswered else ""),
    ]


def _split_table(split: SplitResult) -> SplitTable:
    """The categories of a split, and below each its datasets if there are several."""
    rows: list[ScoreRow] = []
    for category in split.categories:
        rows.append(_category_row(category))
        if len(category.datasets) > 1:
            rows += [_dataset_row(dataset) for dataset in category.datasets]
    return SplitTable(split.title, rows, aggregate.mean_score(split.categories), split.average)


def _category_row(category: CategoryResult) -> ScoreRow:
    row = category.row
    count = sum(len(dataset.values) for dataset in category.datasets)
    marks = [PaperScore(*pair) for pair in zip(paper_results.MODELS, row.numbers, strict=True) if pair[1]]
    return ScoreRow(
        row.title + ("*" if row.judged else ""),
        count,
        category.score,
        category.chance,
        inner=False,
        numbers=row.numbers,
        marks=() if row.judged else marks,  # a judgement is no share, and has no place beside one
    )


def _dataset_row(dataset: DatasetResult) -> ScoreRow:
    count = len(dataset.values)
    return ScoreRow(dataset.name, count, dataset.score, None, inner=True, numbers=paper_results.NO_NUMBERS, marks=())


def _entry(dataset: DatasetResult, answer: ScoredAnswer) -> Entry:
    turn = answer.record.turns[answer.turn]
    # The pictures stand with the first turn; later ones talk about the same.
    media = answer.record.media if answer.turn == 0 else ()
    return Entry(
        dataset=dataset.name,
        sample_id=answer.record.sample_id,
        turn=answer.turn + 1 if len(answer.record.turns) > 1 else None,
        pictures=list(itertools.chain.from_iterable(map(thumbnails, media))),
        question=turn.question,
        truth=turn.answer,
        prediction=answer.prediction,
        refused=answer.refused,
        score=None if answer.value is None else f"{100 * answer.value:.0f}",
        verdict=_verdict(dataset.metric, answer.value),
    )


def _verdict(metric: str | None, value: float | None) -> Verdict:
    """`right` or `wrong` for a choice; an open answer is `partly`, or `wrong` if it shares nothing with the truth."""
    if value is None:
        return "uncounted"
    if metric == MULTI_CHOICE:
        return "right" if value else "wrong"
    return "partly" if value else "wrong"


def thumbnails(medium: Medium) -> list[str]:
    """Encodes an image, or a few frames of a video, as data URLs of small JPEGs; none if it cannot be read."""
    try:
        pictures = _frames(medium.read()) if medium.kind == "video" else [Image.open(io.BytesIO(medium.read()))]
        return [_thumbnail(picture) for picture in pictures]
    except (UnidentifiedImageError, OSError, DatasetError):
        return []


def _frames(data: bytes) -> list[Image.Image]:
    """Decodes FRAMES key frames, spread over a video: quick to seek, and close enough for a thumbnail.

    Raises OSError for what is no video.
    """
    import av  # noqa: PLC0415 - slow to import, for videos alone

    try:
        with av.open(io.BytesIO(data), "r") as video:
            frames = []
            for index in range(FRAMES):
                video.seek((video.duration or 0) * index // FRAMES)
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
