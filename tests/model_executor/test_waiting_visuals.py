"""A waiting request whose next visual has to be encoded again does not hold up those behind it in vLLM's scheduler."""

import pytest
from vllm.v1.core.sched.scheduler import Scheduler

from tests.support.vllm_scheduler import request, run_step, scheduler, visuals_by_step

UNPOOLED = 729
VISUALS = {UNPOOLED: 40, 36: 200}  # of one request, by the rows of each
TOKENS = {"one visual a step": 1024, "two visuals a step": 2048, "eleven visuals a step": 8192}


def steps_until(serving: Scheduler, name: str) -> int:
    """The number of steps until the request is in one."""
    for number in range(1, 1000):
        if name in run_step(serving).num_scheduled_tokens:
            return number
    raise AssertionError(f"{name} was never scheduled")


@pytest.mark.parametrize("rows", VISUALS)
@pytest.mark.parametrize("tokens_a_step", TOKENS.values(), ids=TOKENS)
def test_a_text_behind_visuals_to_be_encoded_again_waits_for_few_steps(
    tokens_a_step: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = scheduler(tokens_a_step, 100_000, monkeypatch, prefix_caching=True)
    questions = [f"question {number}" for number in range(3)]
    for name in questions:
        serving.add_request(request(name, [rows], text_before=20))
    visuals_by_step(serving)
    serving.add_request(request("other visuals", [UNPOOLED] * 40))
    serving.add_request(request("more visuals", [UNPOOLED] * 30))
    visuals_by_step(serving)  # those of the questions are evicted; the blocks of their prefix are not
    serving.add_request(request("many visuals", [rows] * VISUALS[rows]))
    run_step(serving)
    for name in questions:
        serving.add_request(request(name, [rows], text_before=20))
    serving.add_request(request("text", [], text_before=5))
    assert steps_until(serving, "text") <= 1 + 2 * len(questions)
    most = max(1, tokens_a_step // UNPOOLED)
    assert max(visuals_by_step(serving)) <= most
