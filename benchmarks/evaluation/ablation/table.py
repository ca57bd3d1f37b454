"""The ablation's measurements, one row a setting, set out as in the appendix's Table 1."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median, variance
from typing import Any, NamedTuple

from llava_interleave_serve.benchmarks.evaluation.answer_store import AnswerStore
from llava_interleave_serve.benchmarks.evaluation.prompts import VisualOptions
from llava_interleave_serve.benchmarks.evaluation.reports.markdown import percent
from llava_interleave_serve.benchmarks.evaluation.scoring import paper_results
from llava_interleave_serve.benchmarks.evaluation.scoring.aggregate import DatasetResult
from llava_interleave_serve.benchmarks.reporting import text_tables

UNPOOLED = "none"
TOKEN_TOLERANCE = 0.15  # two rows have "equal visual tokens" if they differ by no more than this share


class Pooling(NamedTuple):
    """A pooling and its stride; the stride of `none` is 1."""

    name: str
    stride: int


@dataclass(frozen=True, slots=True)
class AblationRow:
    """The measurement of one setting.

    A row with refused questions has no scores.

    Attributes:
        pooling: The pooling and stride of every frame.
        frames: The number of frames that were asked for.
        questions: The number of answers that count.
        score: The mean over datasets, 0 to 1.
        standard_error: The score's standard error; None without a score, or if a dataset has a single answer.
        dataset_scores: The score of each dataset, by name.
        frames_served: The mean number of frames that the server used, None if it does not report it.
        visual_tokens: The mean number of visual tokens of a question, None if the server does not report it.
        seconds_to_first_token: The median over the questions.
        refused: The number of questions that the server refused.

    """

    pooling: Pooling
    frames: int
    questions: int
    score: float | None
    standard_error: float | None
    dataset_scores: dict[str, float | None]
    frames_served: float | None
    visual_tokens: float | None
    seconds_to_first_token: float | None
    refused: int


def ablation_row(options: VisualOptions, results: Sequence[DatasetResult], answers: AnswerStore) -> AblationRow:
    """Returns the row of a setting, from the scores and the stored lines of its answers."""
    scored = [answer for result in results for answer in result.answers]
    lines = [line for answer in scored if (line := answers.get(answer.record, answer.turn)) and "refused" not in line]
    refused = len(scored) - len(lines)
    dataset_scores = {result.name: result.score for result in results}
    known_scores = [score for score in dataset_scores.values() if score is not None]
    has_score = bool(known_scores) and not refused
    return AblationRow(
        pooling=Pooling(options.pooling or UNPOOLED, options.pool_stride or 1),
        frames=options.num_frames or 0,
        questions=sum(len(result.values) for result in results),
        score=fmean(known_scores) if has_score else None,
        standard_error=standard_error(results) if has_score else None,
        dataset_scores=dataset_scores if has_score else dict.fromkeys(dataset_scores),
        frames_served=_summarise(fmean, lines, "visuals"),
        visual_tokens=_summarise(fmean, lines, "visual_tokens"),
        seconds_to_first_token=_summarise(median, lines, "seconds_to_first_token"),
        refused=refused,
    )


def standard_error(results: Sequence[DatasetResult]) -> float | None:
    """Returns the standard error of the mean over the datasets' scores; None if a dataset has a single answer.

    The questions of each of D datasets are a sample of it: the error is sqrt(sum of s_d^2 / n_d) / D, of the variance
    s_d^2 of a dataset's n_d scores. Datasets without an answer that counts are left out, as in the mean.
    """
    samples = [result.values for result in results if result.values]
    if not samples or any(len(values) < 2 for values in samples):
        return None
    return float(sum(variance(values) / len(values) for values in samples) ** 0.5) / len(samples)


def _summarise(statistic: Callable[[list[float]], float], lines: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [line[name] for line in lines if line[name] is not None]
    return float(statistic(values)) if values else None


def ablation_table(rows: Sequence[AblationRow]) -> str:
    """Writes Table 1's grid, then the comparisons at equal visual tokens, then the paper's own rows, as Markdown."""
    datasets = list(rows[0].dataset_scores)
    header = ["pooling", "frames", "shown", "visual tokens", *datasets, "mean", "±", "first token, s", "refused"]
    grid = text_tables.markdown(header, [_cells(row, datasets) for row in rows])
    paper_header = ("training", "inference", "frames", "image tokens", "Act", "Avg")
    paper_table = text_tables.markdown(paper_header, paper_results.POOLING_TABLE)
    sections = [
        grid,
        f"At equal visual tokens (within {TOKEN_TOLERANCE:.0%}):",
        _comparison_table(rows),
        "The paper's Table 1, whose pooled rows were trained pooled:",
        paper_table,
    ]
    return "\n\n".join(sections) + "\n"


def _cells(row: AblationRow, datasets: Sequence[str]) -> list[str]:
    name, stride = row.pooling
    return [
        name if name == UNPOOLED else f"{name} {stride}x{stride}",
        str(row.frames),
        _number(row.frames_served, 1),
        _number(row.visual_tokens, 0),
        *[percent(row.dataset_scores[dataset]) for dataset in datasets if row.dataset_scores],
        percent(row.score),
        percent(row.standard_error),
        _number(row.seconds_to_first_token, 3),
        str(row.refused or ""),
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _comparison_table(rows: Sequence[AblationRow]) -> str:
    comparisons = list(_comparisons(rows))
    if not comparisons:
        return "none of the rows are."
    return text_tables.markdown(("unpooled", "pooled", "difference, points"), comparisons)


def _comparisons(rows: Sequence[AblationRow]) -> Iterator[list[str]]:
    """Yields each unpooled row beside each pooled row of about as many visual tokens."""
    for unpooled in rows:
        for pooled in rows:
            if unpooled.pooling.name != UNPOOLED or pooled.pooling.name == UNPOOLED:
                continue
            if unpooled.score is None or pooled.score is None or not unpooled.visual_tokens or not pooled.visual_tokens:
                continue
            if abs(pooled.visual_tokens - unpooled.visual_tokens) <= TOKEN_TOLERANCE * unpooled.visual_tokens:
                yield [
                    f"{unpooled.frames} frames, {unpooled.visual_tokens:.0f} tokens: {percent(unpooled.score)}",
                    f"{pooled.pooling.name}, {pooled.frames} frames, {pooled.visual_tokens:.0f} tokens: "
                    f"{percent(pooled.score)}",
                    f"{100 * (pooled.score - unpooled.score):+.2f}",
                ]


def as_json(rows: Sequence[AblationRow]) -> list[dict[str, Any]]:
    """Returns the rows as ablation.json holds them; the keys are part of the command's interface."""
    return [
        {
            "pooling": row.pooling.name,
            "stride": row.pooling.stride,
            "frames": row.frames,
            "n": row.questions,
            "score": row.score,
            "error": row.standard_error,
            "by_data_set": row.dataset_scores,
            "frames_shown": row.frames_served,
            "tokens": row.visual_tokens,
            "seconds_to_first_token": row.seconds_to_first_token,
            "refused": row.refused,
        }
        for row in rows
    ]
