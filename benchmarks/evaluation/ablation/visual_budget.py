"""What `max_visual_tokens` should pick by an ablation's rows, as `--visual-budget` takes it (docs/http.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llava_interleave_serve.benchmarks.evaluation.ablation.table import EQUAL, UNPOOLED, Row

FALLBACK = ("bilinear", 1)  # whose larger strides pool where no pooling was measured
STRIDES = (2, 3, 4)
FEWEST = 4  # frames, as in the numbers that the server ships


@dataclass(frozen=True, slots=True)
class Measured:
    """A row that has a score. error: the score's standard error. cost: tokens a frame."""

    mode: tuple[str, int]
    frames: int
    tokens: float
    cost: int
    score: float
    error: float


def visual_budget(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The steps to try, in order.

    From the most tokens a frame to the least, each pooling whose frames nothing cheaper beats by more than the standard
    error within as many tokens: from the fewest frames for which that holds (4 if it always does), to those that scored
    best. Then the best pooling with larger strides, so that small budgets can be met, although that was not measured.
    Raises ValueError if no row has both a score and tokens.
    """
    groups = _by_mode(_measured(rows))
    order = []
    for at, group in enumerate(groups):
        if kept := _unbeaten(group, [rival for others in groups[at + 1 :] for rival in others]):
            # Where a pooling was never beaten, how few frames would still do was not measured.
            least = min(FEWEST, kept[0].frames) if kept == group else kept[0].frames
            order.append(_step(group[0].mode, least, _best(kept).frames))
    pooled = [one for group in groups for one in group if one.mode[0] != UNPOOLED]
    pooling, stride = _best(pooled).mode if pooled else FALLBACK
    last = order[-1]
    smaller = [larger for larger in STRIDES if larger > stride]
    return order + [_step((pooling, larger), last["min_frames"], last["max_frames"]) for larger in smaller]


def _measured(rows: Sequence[Row]) -> list[Measured]:
    found = [
        Measured(one.mode, one.frames, one.tokens, round(one.tokens / one.frames_shown), one.score, one.error or 0.0)
        for one in rows
        if one.score is not None and one.tokens and one.frames_shown
    ]
    if not found:
        raise ValueError("no row was answered whole by a server that tells its visual tokens (media_usage)")
    return found


def _by_mode(found: Sequence[Measured]) -> list[list[Measured]]:
    """The rows of each pooling by rising frames; the poolings by falling cost, of equal ones the better first."""
    groups: dict[tuple[str, int], list[Measured]] = {}
    for one in sorted(found, key=lambda one: one.frames):
        groups.setdefault(one.mode, []).append(one)
    return sorted(groups.values(), key=lambda group: (-group[0].cost, -_best(group).score))


def _best(found: Sequence[Measured]) -> Measured:
    """The row that scored best; of several that with the fewest frames."""
    return max(found, key=lambda one: (one.score, -one.frames))


def _unbeaten(group: Sequence[Measured], rivals: Sequence[Measured]) -> list[Measured]:
    """The rows from the most frames down to the first that a rival beats, by rising frames."""
    kept: list[Measured] = []
    for one in reversed(group):
        within = [rival for rival in rivals if rival.tokens <= (1 + EQUAL) * one.tokens]
        if any(rival.score > one.score + one.error for rival in within):
            break
        kept.insert(0, one)
    return kept


def _step(mode: tuple[str, int], least: int, most: int) -> dict[str, Any]:
    return {"pooling": mode[0], "stride": mode[1], "min_frames": least, "max_frames": most}
