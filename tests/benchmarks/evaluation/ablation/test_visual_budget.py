"""The steps for a server's visual budget follow from an ablation's rows."""

from typing import Any

import pytest

from llava_interleave_serve.benchmarks.evaluation.ablation import visual_budget
from llava_interleave_serve.benchmarks.evaluation.ablation.table import AblationRow, Pooling

SIDES = {("none", 1): 27, ("average", 2): 13, ("max", 2): 13, ("bilinear", 2): 14, ("bilinear", 4): 7}


def row(
    pooling: str, frames: int, score: float | None, stride: int | None = None, error: float | None = 0.0
) -> AblationRow:
    stride = stride or (1 if pooling == "none" else 2)
    tokens = frames * SIDES[pooling, stride] ** 2
    return AblationRow(Pooling(pooling, stride), frames, 100, score, error, {"NextQA": score}, frames, tokens, 0.5, 0)


def steps(*rows: AblationRow) -> list[tuple[Any, ...]]:
    return [tuple(step.values()) for step in visual_budget.budget_steps(rows)]


def test_budget_steps_drop_frames_first_if_pooling_never_scores_higher() -> None:
    rows = [row("none", 4, 0.50), row("none", 16, 0.60), row("bilinear", 16, 0.50), row("bilinear", 64, 0.58)]
    assert steps(*rows) == [
        ("none", 1, 4, 16),
        ("bilinear", 2, 4, 64),
        ("bilinear", 3, 4, 64),
        ("bilinear", 4, 4, 64),
    ]


def test_budget_steps_pool_first_if_pooling_scores_higher_within_as_many_tokens() -> None:
    rows = [row("none", 10, 0.50), row("none", 16, 0.55), row("bilinear", 40, 0.60), row("bilinear", 64, 0.62)]
    assert steps(*rows)[0] == ("bilinear", 2, 4, 64)
    assert not [step for step in steps(*rows) if step[0] == "none"]


def test_budget_steps_pool_second_if_pooling_scores_higher_at_few_tokens_only() -> None:
    rows = [row("none", 4, 0.40), row("none", 16, 0.60), row("bilinear", 14, 0.50), row("bilinear", 64, 0.55)]
    assert steps(*rows)[:2] == [("none", 1, 16, 16), ("bilinear", 2, 4, 64)]


def test_a_difference_within_the_standard_error_does_not_change_the_budget_steps() -> None:
    rows = [row("none", 10, 0.50, error=0.02), row("bilinear", 40, 0.519)]
    assert steps(*rows)[0] == ("none", 1, 4, 10)
    assert steps(*[rows[0], row("bilinear", 40, 0.521)])[0] == ("bilinear", 2, 4, 40)


def test_a_setting_whose_standard_error_is_not_known_is_not_beaten() -> None:
    rows = [row("none", 10, 0.50, error=None), row("bilinear", 40, 0.9)]
    assert steps(*rows)[0] == ("none", 1, 4, 10)


def test_a_budget_step_has_no_more_frames_than_scored_best() -> None:
    assert steps(row("none", 10, 0.5), row("none", 16, 0.6), row("none", 40, 0.6))[0] == ("none", 1, 4, 16)


def test_ablation_rows_without_a_score_are_ignored() -> None:
    rows = [row("none", 10, 0.5), row("none", 64, None), row("bilinear", 64, None)]
    assert steps(*rows) == [("none", 1, 4, 10), *[("bilinear", stride, 4, 10) for stride in (2, 3, 4)]]
    with pytest.raises(ValueError, match="no row was answered whole"):
        visual_budget.budget_steps([row("none", 64, None)])


def test_the_better_of_poolings_of_equal_cost_comes_first_and_pools_further() -> None:
    rows = [row("none", 10, 0.5), row("max", 10, 0.3), row("average", 10, 0.2)]
    assert [step[:2] for step in steps(*rows)] == [
        ("none", 1),
        ("max", 2),
        ("average", 2),
        ("max", 3),
        ("max", 4),
    ]


def test_the_example_in_the_docstring_of_budget_steps_is_true() -> None:
    lines = [line for line in (visual_budget.budget_steps.__doc__ or "").splitlines() if line.strip().startswith("|")]
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines[2:]]
    rows = [row(pooling.split()[0], int(frames), float(score)) for pooling, frames, _, score, _ in cells]
    tokens = [int(documented.replace(",", "")) for _, _, documented, *_ in cells]
    assert [example.visual_tokens for example in rows] == tokens
    expected = [("none", 1, 16, 16), *[("bilinear", stride, 4, 64) for stride in (2, 3, 4)]]
    assert steps(*rows) == expected
