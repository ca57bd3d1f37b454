"""Pooling by number of frames: the rows of the appendix's Table 1, measured."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median, stdev
from typing import Any

from llava_interleave_serve.benchmarks.evaluation.answer_store import Answers
from llava_interleave_serve.benchmarks.evaluation.prompts import Visuals
from llava_interleave_serve.benchmarks.evaluation.reports.markdown import percent
from llava_interleave_serve.benchmarks.evaluation.scoring import paper_results
from llava_interleave_serve.benchmarks.evaluation.scoring.aggregate import DataSet
from llava_interleave_serve.benchmarks.reporting.text_tables import markdown

UNPOOLED = "none"
EQUAL = 0.15  # how much of their tokens two rows may differ by and still be compared "at equal tokens"


@dataclass(frozen=True, slots=True)
class Row:
    """One setting, measured: means over its questions; score and its standard error in 0 to 1.

    tokens, frames_shown: visual tokens and frames of a question, None if the server does not say. refused: questions
    that the server would not take; a row that has any has no score.
    """

    pooling: str
    stride: int
    frames: int
    n: int
    score: float | None
    error: float | None
    by_data_set: dict[str, float | None]
    frames_shown: float | None
    tokens: float | None
    seconds_to_first_token: float | None
    refused: int

    @property
    def mode(self) -> tuple[str, int]:
        return self.pooling, self.stride


def row(visuals: Visuals, found: Sequence[DataSet], answers: Answers) -> Row:
    """What a setting scored over the data sets. visuals: with its pooling, stride and frames."""
    scored = [answer for one in found for answer in one.answers]
    lines = [line for answer in scored if (line := answers.of(answer.record, answer.turn)) and "refused" not in line]
    refused = len(scored) - len(lines)
    values = [value for one in found for value in one.values]
    by_data_set = {one.name: one.score for one in found}
    sets = [value for value in by_data_set.values() if value is not None]
    whole = bool(sets) and not refused
    return Row(
        visuals.pooling or UNPOOLED,
        visuals.pool_stride or 1,
        visuals.num_frames or 0,
        len(values),
        fmean(sets) if whole else None,
        stdev(values) / len(values) ** 0.5 if whole and len(values) > 1 else None,
        by_data_set if whole else dict.fromkeys(by_data_set),
        _over(fmean, lines, "visuals"),
        _over(fmean, lines, "visual_tokens"),
        _over(median, lines, "seconds_to_first_token"),
        refused,
    )


def _over(of: Any, lines: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [line[name] for line in lines if line[name] is not None]
    return float(of(values)) if values else None


def text(rows: Sequence[Row]) -> str:
    """Table 1's grid, the comparisons at equal tokens, and the paper's own rows."""
    names = list(rows[0].by_data_set)
    header = ["pooling", "frames", "shown", "visual tokens", *names, "mean", "±", "first token, s", "refused"]
    grid = markdown(header, [_cells(one, names) for one in rows])
    parts = [grid, f"At equal visual tokens (within {EQUAL:.0%}):", _comparisons(rows)]
    table_1 = markdown(("training", "inference", "frames", "image tokens", "Act", "Avg"), paper_results.POOLING)
    return "\n\n".join([*parts, "The paper's Table 1, whose pooled rows were trained pooled:", table_1]) + "\n"


def _cells(one: Row, names: Sequence[str]) -> list[str]:
    means = [percent(one.by_data_set[name]) for name in names] if one.by_data_set else []
    measured = [percent(one.score), percent(one.error), _number(one.seconds_to_first_token, 3), str(one.refused or "")]
    title = one.pooling if one.pooling == UNPOOLED else f"{one.pooling} {one.stride}x{one.stride}"
    return [title, str(one.frames), _number(one.frames_shown, 1), _number(one.tokens, 0), *means, *measured]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _comparisons(rows: Sequence[Row]) -> str:
    lines = list(_pairs(rows))
    return markdown(("unpooled", "pooled", "difference, points"), lines) if lines else "none of the rows are."


def _pairs(rows: Sequence[Row]) -> Iterator[list[str]]:
    for one in rows:
        for other in rows:
            if one.pooling != UNPOOLED or other.pooling == UNPOOLED or one.score is None or other.score is None:
                continue
            if one.tokens and other.tokens and abs(other.tokens - one.tokens) <= EQUAL * one.tokens:
                first = f"{one.frames} frames, {one.tokens:.0f} tokens: {percent(one.score)}"
                second = f"{other.pooling}, {other.frames} frames, {other.tokens:.0f} tokens: {percent(other.score)}"
                yield [first, second, f"{100 * (other.score - one.score):+.2f}"]


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain values."""
    return [asdict(one) for one in rows]
