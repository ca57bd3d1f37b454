"""At each card's default, vLLM's own scheduler fills its steps with whole visuals."""

import pytest

from llava_interleave_serve.model_executor import encoder_limits
from llava_interleave_serve.server.engine import cards
from tests.support.gpu.step_shares import POOLINGS, shares
from tests.support.vllm_scheduler import PATCHES

STEPS = sorted({card.tokens_a_step for card in cards.CARDS.values()})


def test_every_card_has_one_of_three_lengths_of_a_step() -> None:
    assert STEPS == [4432, 8112, 16_208]


@pytest.mark.parametrize("tokens_a_step", STEPS)
def test_unpooled_visuals_fill_the_steps(tokens_a_step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    used = [each.tokens for each in shares(tokens_a_step, POOLINGS["unpooled"], monkeypatch)]
    assert sum(used) / len(used) >= 0.95


@pytest.mark.parametrize("tokens_a_step", [2048, 8192, 16_384, *STEPS])
@pytest.mark.parametrize("name", POOLINGS)
def test_a_step_of_any_poolings_is_full_by_its_tokens_or_by_the_towers_work(
    name: str, tokens_a_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = encoder_limits.visuals_a_step(PATCHES, tokens_a_step)
    for step in shares(tokens_a_step, POOLINGS[name], monkeypatch):
        assert step.visuals <= most
        assert step.tokens >= 0.9 or step.visuals >= most - 1


def test_vllms_own_tokens_of_a_step_leave_more_than_a_quarter_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [each.tokens for each in shares(2048, POOLINGS["unpooled"], monkeypatch)]
    assert max(used[2:]) < 0.75  # the first begin with text of all requests
