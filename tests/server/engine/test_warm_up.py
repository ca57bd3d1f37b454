"""The visuals of the warm-up."""

import pytest

from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.visual import VisualFormat
from llava_interleave_serve.server.engine.vllm_engine import warm_up_visuals

UNPOOLED_ROWS = 729


@pytest.mark.parametrize(("on_cpu", "numbers"), [(False, [1, 4]), (True, [1, 1])], ids=["GPU", "CPU"])
def test_a_gpu_is_warmed_up_with_one_and_with_four_visuals(on_cpu: bool, numbers: list[int]) -> None:
    batches = warm_up_visuals(384, VisualFormat(), max_tokens=4094, max_visuals=256, on_cpu=on_cpu)
    assert [len(batch) for batch in batches] == numbers
    # None is served from the encoder cache, and no request is longer than an unpooled visual.
    assert len({int(visual.views[0, 0, 0, 0]) for batch in batches for visual in batch}) == sum(numbers)
    assert all(sum(visual.num_tokens(27) for visual in batch) <= UNPOOLED_ROWS for batch in batches)


def test_a_picture_of_several_views_is_warmed_up_where_the_checkpoint_has_any_resolution() -> None:
    any_resolution = AnyResolution(tile=384, grid=27, resolutions=((384, 768), (768, 384)))
    checkpoint = VisualFormat(any_resolution=any_resolution)
    ((visual,), _) = warm_up_visuals(384, checkpoint, max_tokens=4094, max_visuals=256, on_cpu=True)
    assert visual.layout is not None
    assert len(visual.views) == visual.layout.num_views > 1
    ((visual,), _) = warm_up_visuals(384, checkpoint, max_tokens=1022, max_visuals=256, on_cpu=True)
    assert visual.layout is None  # the context has no room for it


def test_the_warm_up_keeps_the_limit_of_visuals() -> None:
    batches = warm_up_visuals(384, VisualFormat(), max_tokens=4094, max_visuals=3, on_cpu=False)
    assert [len(batch) for batch in batches] == [1, 3]
