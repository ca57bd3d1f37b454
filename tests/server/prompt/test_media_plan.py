"""The media plan counts visuals and tokens and fits them to a budget."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_interleave_serve.model_executor.visual import Pooling
from llava_interleave_serve.server.errors import LimitExceeded, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.plan import media_plan
from llava_interleave_serve.server.prompt.plan.part_plan import PartPlan

GRID = 27
URL = "data:,"


def part(kind: str, **options: Any) -> dict[str, Any]:
    return {"type": kind, kind: options}


def image(**options: Any) -> dict[str, Any]:
    return part("image_url", url=URL, **options)


def video(**options: Any) -> dict[str, Any]:
    return part("video_url", url=URL, **options)


def planned(*parts: dict[str, Any], limits: Limits | None = None, **fields: Any) -> list[PartPlan]:
    request = chat_request.parse({"messages": [{"role": "user", "content": list(parts)}], **fields})
    return media_plan.plan_media(request, media_plan.PlanRules(GRID, limits or Limits()))


@pytest.mark.parametrize(
    ("pools", "tokens", "said"),
    [(False, [729, 729, 729], [None, "ignore", None]), (True, [729, 196, 729], [None, "pool", None])],
)
def test_the_operator_says_whether_low_detail_pools(pools: bool, tokens: list[int], said: list[str | None]) -> None:
    parts = [image(detail=detail) for detail in ("auto", "low", "high")]
    request = chat_request.parse({"messages": [{"role": "user", "content": parts}]})
    plans = media_plan.plan_media(request, media_plan.PlanRules(GRID, Limits(), pools_low_detail=pools))
    assert [plan.tokens for plan in plans] == tokens
    assert [plan.low_detail for plan in plans] == said


def test_a_budget_pools_low_detail_that_is_ignored_and_no_other_detail() -> None:
    budget = 729 + 196
    assert [cost(plan)[1] for plan in planned(image(detail="high"), image(detail="low"), max_visual_tokens=budget)] == [
        729,
        196,
    ]


@pytest.mark.parametrize(("options", "frames"), [({}, 3), ({"fps": 2.0}, 3), ({"end": 4.0}, 3), ({"num_frames": 2}, 2)])
def test_a_video_whose_frames_are_not_stated_has_no_more_than_the_operator_allows(
    options: dict[str, Any], frames: int
) -> None:
    (plan,) = planned(video(**options), limits=Limits(max_frames=3))
    assert plan.visuals == frames
    assert plan.num_frames == (None if "fps" in options else frames)


@pytest.mark.parametrize(("options", "name"), [({"num_frames": 4}, "num_frames"), ({"fps": 2.0, "end": 2.0}, "fps")])
def test_more_frames_than_the_operator_allows_are_refused_by_the_field_that_says_so(
    options: dict[str, Any], name: str
) -> None:
    with pytest.raises(LimitExceeded) as refusal:
        planned(video(**options), limits=Limits(max_frames=3))
    assert refusal.value.param == f"messages[0].content[0].video_url.{name}"


def test_a_budget_pools_no_more_than_it_must_where_the_operator_allows_few_frames() -> None:
    limits = Limits(max_frames=3)
    (picture,) = planned(image(), limits=limits, max_visual_tokens=196)
    assert cost(picture) == (1, 196, Pooling("bilinear", 2))
    (film,) = planned(video(), limits=limits, max_visual_tokens=3 * 196)
    assert cost(film) == (3, 3 * 196, Pooling("bilinear", 2))


def cost(plan: PartPlan) -> tuple[int, int, Pooling]:
    return plan.visuals, plan.tokens, plan.pooling


@pytest.mark.parametrize(
    ("media_part", "visuals", "tokens", "exact"),
    [
        (image(), 1, 729, True),
        (image(detail="low"), 1, 729, True),
        (image(detail="high"), 1, 729, True),
        (image(pooling="average"), 1, 169, True),
        (video(), 16, 16 * 729, False),
        (video(num_frames=10, pooling="max", pool_stride=3), 10, 10 * 81, False),
        (video(fps=2, end=4), 8, 8 * 729, False),
        (video(fps=2, start=1, end=4), 6, 6 * 729, False),
        (video(fps=2), 128, 128 * 729, False),
        (part("video_frames", frames=[{"url": URL}] * 5), 5, 5 * 729, True),
        (part("multi_view", views=[{"url": URL}] * 6, pooling="bilinear"), 6, 6 * 196, True),
    ],
)
def test_the_plan_of_a_part_follows_from_its_options(
    media_part: dict[str, Any], visuals: int, tokens: int, exact: bool
) -> None:
    (plan,) = planned(media_part)
    assert (plan.visuals, plan.tokens, plan.exact) == (visuals, tokens, exact)


def test_too_many_media_parts_are_refused_by_the_first_part_over_the_limit() -> None:
    with pytest.raises(LimitExceeded) as refusal:
        planned(*[image()] * 4, limits=Limits(max_media_parts=3))
    assert refusal.value.param == "messages[0].content[3].image_url"


def test_too_many_visuals_are_refused_by_the_part_that_exceeds_the_limit() -> None:
    with pytest.raises(LimitExceeded) as refusal:
        planned(image(), part("video_frames", frames=[{"url": URL}] * 5), image(), limits=Limits(max_visuals=5))
    assert refusal.value.param == "messages[0].content[1].video_frames"


@pytest.mark.parametrize("options", [{"num_frames": 129}, {"fps": 50, "end": 10}])
def test_too_many_frames_are_refused_by_the_option_that_asks_for_them(options: dict[str, Any]) -> None:
    with pytest.raises(LimitExceeded) as refusal:
        planned(video(**options))
    assert refusal.value.param == f"messages[0].content[0].video_url.{next(iter(options))}"


def test_a_pooling_that_leaves_no_tokens_is_refused() -> None:
    request = chat_request.parse({"messages": [{"role": "user", "content": [image(pooling="average", pool_stride=4)]}]})
    with pytest.raises(RequestError, match="leaves nothing of a 3x3 grid"):
        media_plan.plan_media(request, media_plan.PlanRules(3, Limits()))


class TestMaxVisualTokens:
    def test_media_within_the_token_budget_is_unchanged(self) -> None:
        plans = planned(image(), video(), max_visual_tokens=17 * 729)
        assert [cost(plan) for plan in plans] == [(1, 729, Pooling()), (16, 16 * 729, Pooling())]

    def test_frames_are_dropped_before_visuals_are_pooled(self) -> None:
        first, second = planned(image(), video(), max_visual_tokens=11 * 729 + 100)
        assert (cost(first), cost(second)) == ((1, 729, Pooling()), (10, 7290, Pooling()))
        assert second.num_frames == 10

    def test_several_videos_lose_frames_evenly(self) -> None:
        plans = planned(video(), video(), max_visual_tokens=13 * 729)
        assert [plan.visuals for plan in plans] == [6, 6]

    def test_a_video_that_would_have_fewer_than_four_frames_is_pooled_with_as_many_frames_as_fit(self) -> None:
        (plan,) = planned(video(), max_visual_tokens=3 * 729)
        assert cost(plan) == (11, 11 * 196, Pooling("bilinear", 2))

    def test_images_that_cannot_lose_frames_are_pooled_by_the_smallest_stride_that_fits(self) -> None:
        assert [plan.pooling for plan in planned(image(), image(), max_visual_tokens=200)] == [
            Pooling("bilinear", 3)
        ] * 2

    def test_the_smallest_plan_of_a_video_is_one_frame(self) -> None:
        (plan,) = planned(video(), max_visual_tokens=49)
        assert cost(plan) == (1, 49, Pooling("bilinear", 4))

    def test_options_chosen_by_the_client_are_never_changed(self) -> None:
        plans = planned(
            video(num_frames=3), image(detail="auto"), image(pooling="average"), video(), max_visual_tokens=5 * 729
        )
        assert cost(plans[1]) == (1, 729, Pooling())
        assert cost(plans[2]) == (1, 169, Pooling("average", 2))
        assert plans[0].visuals == 3

    def test_a_token_budget_that_cannot_be_met_is_refused_with_the_least_number_of_tokens(self) -> None:
        with pytest.raises(RequestError, match="takes at least 778") as refusal:
            planned(image(detail="auto"), video(), max_visual_tokens=700)
        assert refusal.value.param == "max_visual_tokens"

    @given(
        st.lists(
            st.sampled_from(
                [image(), image(detail="low"), video(), video(num_frames=7), video(fps=1, end=9, pooling="max")]
            ),
            min_size=1, max_size=6,
        ),
        st.integers(1, 20000),
    )  # fmt: skip
    def test_every_plan_keeps_the_token_budget_and_the_options_chosen_by_the_client(
        self, parts: list[dict[str, Any]], most: int
    ) -> None:
        try:
            plans = planned(*parts, max_visual_tokens=most)
        except RequestError:
            return
        assert sum(plan.tokens for plan in plans) <= most
        for plan, before in zip(plans, planned(*parts), strict=True):
            assert plan.frames_are_free or plan.visuals == before.visuals
            assert plan.options.pinned_pooling in (None, plan.pooling)
