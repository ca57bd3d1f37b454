"""A visual's packing goes over vLLM's tensors unchanged."""

import numpy as np
import pytest

from llava_interleave_serve.kernels.index_plan import Packing, Tiles
from llava_interleave_serve.model_executor import packing
from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.packing import VisualPacking
from llava_interleave_serve.model_executor.visual import NEWLINES, POOLING_MODES, Newline, Pooling, Visual

VIEW = np.zeros((1, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("mode", POOLING_MODES)
@pytest.mark.parametrize("newline", NEWLINES)
def test_the_packing_of_a_view_is_encoded_and_decoded(mode: str, newline: Newline) -> None:
    pooling = Pooling(mode, 1 if mode == "none" else 3, before_projector=mode == "max")
    decoded = packing.decode(packing.encode(Visual(VIEW, pooling, newline)))
    assert decoded == VisualPacking(Packing(mode, pooling.stride, newline), mode == "max")
    assert decoded.packing.rows(7) == Visual(VIEW, pooling, newline).num_tokens(7)


@pytest.mark.parametrize("max_tiles", [None, 2])
def test_the_layout_of_a_picture_is_encoded_and_decoded(max_tiles: int | None) -> None:
    layout = AnyResolution(((24, 16),), 8, 4, max_tiles).layout(50, 20)
    visual = Visual(np.zeros((7, 8, 8, 3), np.uint8), layout=layout)
    decoded = packing.decode(packing.encode(visual)).packing
    assert decoded.tiles == Tiles(3, 2, layout.first_row, 0, layout.rows, 12, layout.reduced)
    assert (layout.reduced == (layout.rows, 12)) is (max_tiles is None)
    assert decoded.views == 7
    assert decoded.rows(4) == visual.num_tokens(4)
