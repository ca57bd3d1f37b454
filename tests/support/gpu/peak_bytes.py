"""Prints the most bytes that `embed_multimodal` has at once, its result among them.

`python -m tests.support.gpu.peak_bytes`: of the published sizes in bfloat16, on meta tensors, so that nothing is
computed. A table: in calls of the tower of at most 16 views, as the model makes them, and in one call.
"""

import numpy as np
import pytest
import torch
from transformers import LlavaConfig

from llava_interleave_serve.benchmarks.model import dimensions
from llava_interleave_serve.model_executor import encoder_limits, packing
from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling, Visual
from tests.support import encoder_half
from tests.support.fakes import platform

VISUALS = (1, 16, 64, 455)
POOLINGS = {"unpooled": UNPOOLED, "bilinear by 2": Pooling("bilinear", 2), "average by 4": Pooling("average", 4)}
LAYERS = 4  # of the tower's 26, which are alike


def published(size: str) -> LlavaInterleaveForConditionalGeneration:
    """The published model's encoder half on the meta device; of its alike tower layers only LAYERS."""
    config = LlavaConfig(**dimensions.config(dimensions.SIZES[size]))
    config.vision_config.num_hidden_layers = LAYERS
    with encoder_half.one_rank():
        return encoder_half.make(config, torch.bfloat16, "meta")


def peak_bytes(model: LlavaInterleaveForConditionalGeneration, visuals: int, pooling: Pooling) -> int:
    """The most bytes that `embed_multimodal` has at once, its result among them."""
    views = torch.empty(visuals, 1, 384, 384, 3, dtype=torch.uint8, device="meta")
    packings = torch.tensor([packing.encode(Visual(np.zeros((1, 1, 1, 3), np.uint8), pooling))] * visuals)
    with torch.inference_mode(), encoder_half.PeakBytes() as measured:
        rows = model.embed_multimodal(views=views, packings=packings)
    assert len(rows) == visuals
    peak: int = measured.peak
    return peak


def in_one_call(model: LlavaInterleaveForConditionalGeneration, visuals: int, pooling: Pooling) -> int:
    """`peak_bytes` if the tower had all views in one call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_limits, "PATCHES_A_CALL", visuals * 27**2)
        return peak_bytes(model, visuals, pooling)


def main() -> None:
    print("| model | pooling |", " | ".join(f"{visuals} visuals" for visuals in VISUALS), "|")
    print("|---|---|" + "---|" * len(VISUALS))
    with pytest.MonkeyPatch.context() as patch:
        platform.take_for_a_gpu(patch)
        for size in ("0.5b", "7b"):
            model = published(size)
            for name, pooling in POOLINGS.items():
                cells = []
                for visuals in VISUALS:
                    sizes = peak_bytes(model, visuals, pooling), in_one_call(model, visuals, pooling)
                    cells.append(" / ".join(f"{each / 1e6:,.0f}" for each in sizes))
                print(f"| {size} | {name} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
