"""The encoder on a GPU, with compiled kernels and vLLM's own attention, gives what it gives on a CPU."""

import pytest
import torch
from transformers import LlavaConfig

from llava_interleave_serve.benchmarks.model import dimensions
from llava_interleave_serve.model_executor.visual import POOLING_STRIDES, UNPOOLED, Pooling
from tests.support import checkpoints, encoder_half
from tests.support.checkpoints import IMAGE_SIZE

pytestmark = pytest.mark.gpu
POOLINGS = [UNPOOLED, *(Pooling(mode, stride) for mode in ("average", "max", "bilinear") for stride in POOLING_STRIDES)]


def encode(dtype: torch.dtype, device: str) -> torch.Tensor:
    """The rows of a visual of each pooling by the demo's encoder, in float64 on the CPU."""
    random = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (len(POOLINGS), 1, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8, generator=random)
    packings = encoder_half.packings(POOLINGS)
    with encoder_half.one_rank(), torch.inference_mode():
        model = encoder_half.make(LlavaConfig.from_pretrained(checkpoints.DEMO), dtype, device)
        encoder_half.load(model, checkpoints.DEMO)
        rows = model.embed_multimodal(views=views.to(device), packings=packings)
        return torch.cat(list(rows)).double().cpu()


def test_the_demos_rows_are_as_exact_on_a_gpu_as_on_a_cpu() -> None:
    exact = encode(torch.float32, "cpu")
    on_cpu, on_gpu = (encode(torch.bfloat16, device) for device in ("cpu", "cuda"))
    assert (on_gpu - exact).abs().max() <= 2 * (on_cpu - exact).abs().max()


def test_256_small_visuals_twice_take_half_a_gigabyte_beside_the_weights_and_are_equal() -> None:
    with encoder_half.one_rank(), torch.inference_mode():
        model = encoder_half.make(LlavaConfig(**dimensions.config(dimensions.SIZES["0.5b"])), torch.bfloat16, "cuda")
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
        views = torch.randint(0, 256, (256, 1, 384, 384, 3), dtype=torch.uint8, device="cuda")
        packings = encoder_half.packings([Pooling("average", 4)] * 256)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        first, second = (torch.cat(list(model.embed_multimodal(views=views, packings=packings))) for _ in range(2))
        assert torch.cuda.max_memory_allocated() - before < 500 * 10**6
        assert not first.isnan().any()
        assert first.equal(second)
