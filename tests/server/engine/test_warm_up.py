"""The visuals of the warm-up."""

import pytest

from llava_interleave_serve.server.engine.vllm_engine import warm_up_visuals

UNPOOLED_ROWS = 729


@pytest.mark.parametrize(("on_cpu", "numbers"), [(False, [1, 4]), (True, [1, 1])], ids=["GPU", "CPU"])
def test_a_gpu_is_warmed_up_with_one_and_with_four_visuals(on_cpu: bool, numbers: list[int]) -> None:
    batches = warm_up_visuals(384, on_cpu=on_cpu)
    assert [len(batch) for batch in batches] == numbers
    # None is served from the encoder cache, and no request is longer than an unpooled visual.
    assert len({int(visual.views[0, 0, 0, 0]) for batch in batches for visual in batch}) == sum(numbers)
    assert all(sum(visual.num_tokens(27) for visual in batch) <= UNPOOLED_ROWS for batch in batches)
