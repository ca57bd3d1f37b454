"""At each card's default, vLLM's own scheduler fills its steps with whole visuals."""

import pytest

from llava_interleave_serve.server.engine import cards
from tests.support.vllm_scheduler import request, run_step, scheduler

STEPS = sorted({card.tokens_a_step for card in cards.CARDS.values()})
UNPOOLED = 729


def shares(tokens_a_step: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The share of each step's tokens that is used, by requests of four visuals, as long as enough of them wait."""
    serving = scheduler(tokens_a_step, 100_000, monkeypatch)
    for number in range(60):
        serving.add_request(request(f"request {number}", [rows] * 4, text_before=10))
    return [run_step(serving).total_num_scheduled_tokens / tokens_a_step for _ in range(8)]


def test_every_card_has_one_of_three_lengths_of_a_step() -> None:
    assert STEPS == [4432, 8112, 16_208]


@pytest.mark.parametrize("tokens_a_step", STEPS)
def test_unpooled_visuals_fill_the_steps(tokens_a_step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    used = shares(tokens_a_step, UNPOOLED, monkeypatch)
    assert sum(used) / len(used) >= 0.95


def test_vllms_own_tokens_of_a_step_leave_more_than_a_quarter_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    used = shares(2048, UNPOOLED, monkeypatch)
    assert max(used[1:]) < 0.75  # the first begins with text of all requests
