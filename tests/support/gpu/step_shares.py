"""Prints how vLLM's own scheduler fills its steps with visuals: `python -m tests.support.gpu.step_shares`.

A table by tokens of a step and by pooling, and mixes of poolings: the share of the tokens that a step uses, the visuals
that it encodes, and how many it may. Requests of four visuals wait at all times; arithmetic, no model and no times.
"""

from typing import NamedTuple

import pytest

from llava_interleave_serve.model_executor import encoder_limits
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling
from tests.support.vllm_scheduler import PATCHES, request, run_step, scheduler

TOKENS = (2048, 4432, 8112, 8192, 16_208, 16_384)
POOLINGS = {
    "unpooled": [UNPOOLED],
    **{f"{mode} by {stride}": [Pooling(mode, stride)] for mode in ("average", "bilinear") for stride in (2, 3, 4)},
    "unpooled and bilinear by 2 in turns": [UNPOOLED, Pooling("bilinear", 2)],
    "one unpooled to three average by 4": [UNPOOLED, *[Pooling("average", 4)] * 3],
    "three unpooled to one average by 4": [*[UNPOOLED] * 3, Pooling("average", 4)],
    "unpooled, average by 2, 3 and 4": [UNPOOLED, *(Pooling("average", stride) for stride in (2, 3, 4))],
}
REQUESTS, STEPS = 80, 8


class Share(NamedTuple):
    """What a step uses.

    tokens: of its tokens, from 0 to 1. visuals: that it encodes.
    """

    tokens: float
    visuals: int


def shares(tokens_a_step: int, poolings: list[Pooling], monkeypatch: pytest.MonkeyPatch) -> list[Share]:
    """What each of the first STEPS steps uses, by requests of four visuals of these poolings in turns."""
    rows = [pooling.side(27) ** 2 for pooling in poolings]
    serving = scheduler(tokens_a_step, 100_000, monkeypatch)
    for number in range(REQUESTS):
        serving.add_request(
            request(f"request {number}", [rows[index % len(rows)] for index in range(4)], text_before=10)
        )
    used = []
    for _ in range(STEPS):
        step = run_step(serving)
        visuals = sum(map(len, step.scheduled_encoder_inputs.values()))
        used.append(Share(step.total_num_scheduled_tokens / tokens_a_step, visuals))
    return used


def main() -> None:
    print("| visuals |", " | ".join(f"{tokens:,}" for tokens in TOKENS), "|")
    print("|---|" + "---|" * len(TOKENS))
    for name, poolings in POOLINGS.items():
        cells = []
        for tokens in TOKENS:
            with pytest.MonkeyPatch.context() as patch:
                used = shares(tokens, poolings, patch)[1:]  # the first begins with text of all requests
            most = encoder_limits.visuals_a_step(PATCHES, tokens)
            cells.append(
                f"{sum(each.tokens for each in used) / len(used):.0%}, "
                f"{sum(each.visuals for each in used) / len(used):.3g} of {most}"
            )
        print(f"| {name} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
