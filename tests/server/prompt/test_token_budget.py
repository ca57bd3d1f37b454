"""The steps of `max_visual_tokens` are read from a file, which the operator may replace."""

import json
from pathlib import Path
from typing import Any

import pytest

from llava_interleave_serve.model_executor.visual import Pooling
from llava_interleave_serve.server import cli
from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.prompt import chat_request, token_budget
from llava_interleave_serve.server.prompt.plan import media_plan
from llava_interleave_serve.server.prompt.plan.part_plan import PartPlan
from llava_interleave_serve.server.prompt.token_budget import SHIPPED, Step

GRID = 27
STEP: dict[str, Any] = {"pooling": "bilinear", "stride": 2, "min_frames": 2, "max_frames": 40}
POOLED_FIRST = (Step(**STEP), Step(pooling="none", stride=1, min_frames=2, max_frames=16))


def planned(steps: tuple[Step, ...], most: int, videos: int = 1, **limits: int) -> PartPlan:
    parts = [{"type": "video_url", "video_url": {"url": "data:,"}}] * videos
    request = chat_request.parse({"messages": [{"role": "user", "content": parts}], "max_visual_tokens": most})
    return media_plan.plan_media(request, media_plan.PlanRules(GRID, Limits(**limits), steps))[0]


def test_the_shipped_budget_steps_are_those_of_the_finding_of_the_paper() -> None:
    assert [(step.as_pooling, step.min_frames, step.max_frames) for step in SHIPPED] == [
        (Pooling(), 4, 16),
        (Pooling("bilinear", 2), 4, 16),
        (Pooling("bilinear", 3), 4, 16),
        (Pooling("bilinear", 4), 4, 16),
    ]


def test_the_first_budget_step_that_fits_is_taken_with_as_many_frames_as_fit() -> None:
    plan = planned(POOLED_FIRST, 10 * 729)
    assert (plan.pooling, plan.num_frames) == (Pooling("bilinear", 2), 37)
    assert planned(POOLED_FIRST, 9000).num_frames == 40


def test_the_last_budget_step_goes_down_to_one_frame_if_no_step_fits() -> None:
    steps = (Step(**STEP | {"min_frames": 9}),)
    assert planned(steps, 3 * 196).num_frames == 3
    with pytest.raises(RequestError, match="takes at least 196"):
        planned(steps, 195)


def test_a_budget_step_never_exceeds_the_limits_of_the_server() -> None:
    assert planned(POOLED_FIRST, 9000, max_frames=20).num_frames == 20
    assert planned(POOLED_FIRST, 9000, videos=2, max_visuals=36).num_frames == 18


def test_a_grid_too_small_for_every_budget_step_is_left_unpooled() -> None:
    request = chat_request.parse(
        {
            "messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "data:,"}}]}],
            "max_visual_tokens": 5,
        }
    )
    (plan,) = media_plan.plan_media(request, media_plan.PlanRules(1, Limits(), POOLED_FIRST[:1]))
    assert (plan.pooling, plan.num_frames) == (Pooling(), 5)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "at least 1 item"),
        ({}, "valid array"),
        ([STEP | {"pooling": "median"}], r"\[0\]\.pooling"),
        ([STEP | {"stride": 5}], r"\[0\]: the stride of bilinear pooling must be one of 2, 3, 4, not 5"),
        ([STEP | {"pooling": "none"}], "must be one of 1, not 2"),
        ([STEP, STEP | {"min_frames": 0}], r"\[1\]\.min_frames"),
        ([STEP | {"min_frames": 41}], "max_frames is 40, less than min_frames, 41"),
        ([STEP | {"min_frames": "4"}], r"\[0\]\.min_frames: Input should be a valid integer"),
        ([STEP | {"frames": 4}], r"\[0\]\.frames"),
        ([{"pooling": "none"}], r"\[0\]\.stride: Field required"),
    ],
)
def test_a_fault_in_a_budget_file_is_named(tmp_path: Path, steps: Any, message: str) -> None:
    (tmp_path / "budget.json").write_text(json.dumps(steps))
    with pytest.raises(ValueError, match=r"^budget\.json.*" + message):
        token_budget.load(tmp_path / "budget.json")


class TestOption:
    def test_the_shipped_budget_steps_hold_without_the_option_visual_budget(self) -> None:
        assert cli.parse([]).visual_budget == SHIPPED

    def test_the_option_visual_budget_names_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "budget.json").write_text(json.dumps([STEP]))
        assert cli.parse(["--visual-budget", str(tmp_path / "budget.json")]).visual_budget == (Step(**STEP),)

    @pytest.mark.parametrize("text", [None, "[", "[3]"])
    def test_a_faulty_budget_file_ends_the_command(
        self, tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if text is not None:
            (tmp_path / "budget.json").write_text(text)
        with pytest.raises(SystemExit) as end:
            cli.parse(["--visual-budget", str(tmp_path / "budget.json")])
        assert end.value.code == 2
        assert "--visual-budget: " in capsys.readouterr().err
