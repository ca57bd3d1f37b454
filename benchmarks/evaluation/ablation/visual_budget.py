"""Derives from an ablation how a server should spend `max_visual_tokens`: the table of `--visual-budget`.

The server tries the steps of the table in order and takes the first that fits the budget (docs/http.md).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llava_interleave_serve.benchmarks.evaluation.ablation.table import (
    TOKEN_TOLERANCE,
    UNPOOLED,
    AblationRow,
    Pooling,
)

FALLBACK = Pooling("bilinear", 1)  # its larger strides follow if no pooled row was measured
STRIDES = (2, 3, 4)
MIN_FRAMES = 4  # as in the table that the server ships


@dataclass(frozen=True, slots=True)
class MeasuredSetting:
    """A row of the ablation that has a score.

    Attributes:
        pooling: The pooling and stride of every frame.
        frames: The number of frames that were asked for.
        tokens: The visual tokens of a question.
        tokens_per_frame: The same by frame, rounded.
        score: The score, 0 to 1.
        standard_error: The score's standard error; infinite if it is not known.

    """

    pooling: Pooling
    frames: int
    tokens: float
    tokens_per_frame: int
    score: float
    standard_error: float


def budget_steps(rows: Sequence[AblationRow]) -> list[dict[str, Any]]:
    """Returns the steps that a server is to try, in order, as `--visual-budget` reads them.

    1. Poolings come by falling tokens a frame. A setting is *beaten* if a pooling that comes later scored higher by
       more than the setting's standard error, with no more visual tokens (`TOKEN_TOLERANCE` more count as equal). A
       setting whose standard error is not known is not beaten.
    2. Of each pooling, only the settings with more frames than its last beaten one are used; if there are none, the
       pooling is left out. The step goes from the fewest of these frames to those that scored best. If no setting of
       the pooling was beaten, it goes down to 4 frames, since how few frames would still do was not measured.
    3. The pooling that scored best follows with its larger strides, so that small budgets can be met. These steps
       were not measured, and take their frames from the last measured step.

    An example, with standard errors of 0:

    | pooling    | frames | tokens | score |                                                                     |
    |------------|--------|--------|-------|---------------------------------------------------------------------|
    | none       | 4      | 2,916  | 0.40  | beaten by the third row, which has fewer tokens                     |
    | none       | 16     | 11,664 | 0.60  | not beaten: the first step is none with 16 to 16 frames             |
    | bilinear 2 | 14     | 2,744  | 0.50  | nothing comes later, so that bilinear 2 is never beaten             |
    | bilinear 2 | 64     | 12,544 | 0.55  | the best of its pooling: the second step is bilinear 2, 4 to 64     |

    The third and fourth steps are bilinear 3 and bilinear 4, also with 4 to 64 frames.

    Raises ValueError if no row has both a score and visual tokens.
    """
    groups = _by_pooling(_measured_settings(rows))
    steps = []
    for index, group in enumerate(groups):
        rivals = [setting for later_group in groups[index + 1 :] for setting in later_group]
        if unbeaten := _unbeaten(group, rivals):
            fewest = unbeaten[0].frames
            min_frames = min(MIN_FRAMES, fewest) if len(unbeaten) == len(group) else fewest
            steps.append(_step(group[0].pooling, min_frames, _best(unbeaten).frames))
    return steps + list(_unmeasured_steps(groups, steps[-1]))


def _measured_settings(rows: Sequence[AblationRow]) -> list[MeasuredSetting]:
    settings = [
        MeasuredSetting(
            row.pooling,
            row.frames,
            row.visual_tokens,
            round(row.visual_tokens / row.frames_served),
            row.score,
            math.inf if row.standard_error is None else row.standard_error,
        )
        for row in rows
        if row.score is not None and row.visual_tokens and row.frames_served
    ]
    if not settings:
        raise ValueError("no row was answered whole by a server that tells its visual tokens (media_usage)")
    return settings


def _by_pooling(settings: Sequence[MeasuredSetting]) -> list[list[MeasuredSetting]]:
    """Groups the settings by pooling, each group by rising frames.

    The groups come by falling tokens a frame; of groups with equally many, the one with the better best score first.
    """
    groups: dict[Pooling, list[MeasuredSetting]] = {}
    for setting in sorted(settings, key=lambda setting: setting.frames):
        groups.setdefault(setting.pooling, []).append(setting)
    return sorted(groups.values(), key=lambda group: (-group[0].tokens_per_frame, -_best(group).score))


def _best(settings: Sequence[MeasuredSetting]) -> MeasuredSetting:
    """Returns the setting that scored best; of several, the one with the fewest frames."""
    return max(settings, key=lambda setting: (setting.score, -setting.frames))


def _unbeaten(group: Sequence[MeasuredSetting], rivals: Sequence[MeasuredSetting]) -> list[MeasuredSetting]:
    """Returns the settings of a group with more frames than the last beaten one, by rising frames."""
    beaten = [index for index, setting in enumerate(group) if _is_beaten(setting, rivals)]
    return list(group[beaten[-1] + 1 :] if beaten else group)


def _is_beaten(setting: MeasuredSetting, rivals: Sequence[MeasuredSetting]) -> bool:
    return any(
        rival.score > setting.score + setting.standard_error
        for rival in rivals
        if rival.tokens <= (1 + TOKEN_TOLERANCE) * setting.tokens
    )


def _unmeasured_steps(
    groups: Sequence[Sequence[MeasuredSetting]], last_step: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    pooled = [setting for group in groups for setting in group if setting.pooling.name != UNPOOLED]
    name, stride = _best(pooled).pooling if pooled else FALLBACK
    for larger in STRIDES:
        if larger > stride:
            yield _step(Pooling(name, larger), last_step["min_frames"], last_step["max_frames"])


def _step(pooling: Pooling, min_frames: int, max_frames: int) -> dict[str, Any]:
    return {"pooling": pooling.name, "stride": pooling.stride, "min_frames": min_frames, "max_frames": max_frames}
