"""The encoding of visuals: the memory of one call, and the same rows however many visuals vLLM asks for at once."""

import pytest
import torch
from transformers import LlavaConfig
from vllm.model_executor.layers import linear

from llava_interleave_serve.benchmarks.model import dimensions
from llava_interleave_serve.model_executor import encoder_limits, processing
from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling
from tests.support import checkpoints, encoder_half

MB = 10**6
SIZE, PATCHES = 112, 49
MOST = 16  # views of a call, in the tests of the demo's tower
POOLINGS = [UNPOOLED, Pooling("average", 2), Pooling("bilinear", 2), Pooling("max", 3), Pooling("average", 4)]


def published(size: str) -> LlavaInterleaveForConditionalGeneration:
    """The published model's encoder half on the meta device, as on a GPU; of its 26 alike tower layers only 4."""
    config = LlavaConfig(**dimensions.config(dimensions.SIZES[size]))
    config.vision_config.num_hidden_layers = 4
    with encoder_half.one_rank():
        return encoder_half.make(config, torch.bfloat16, "meta")


def peak_bytes(model: LlavaInterleaveForConditionalGeneration, visuals: int, pooling: Pooling) -> int:
    """The most bytes that `embed_multimodal` has at once, its result among them."""
    views = torch.empty(visuals, 1, 384, 384, 3, dtype=torch.uint8, device="meta")
    poolings = torch.tensor([processing.encode_pooling(pooling)] * visuals)
    with torch.inference_mode(), encoder_half.PeakBytes() as measured:
        rows = model.embed_multimodal(views=views, poolings=poolings)
    assert len(rows) == visuals
    return measured.peak


@pytest.mark.usefixtures("on_a_gpu")
@pytest.mark.parametrize("size", dimensions.SIZES)
def test_any_number_of_pooled_visuals_is_encoded_in_half_a_gigabyte(size: str) -> None:
    model = published(size)
    peaks = {visuals: peak_bytes(model, visuals, Pooling("average", 4)) for visuals in (1, 16, 64, 455)}
    assert 10 * MB < peaks[1] < 25 * MB
    assert peaks[1] < peaks[16] < peaks[64] < peaks[455] < 500 * MB


@pytest.mark.usefixtures("on_a_gpu")
@pytest.mark.parametrize("pooling", [UNPOOLED, Pooling("max", 2), Pooling("bilinear", 2)], ids=str)
def test_beside_its_result_a_call_takes_no_more_for_more_visuals(pooling: Pooling) -> None:
    model = published("7b")
    result = 64 * pooling.side(27) ** 2 * 4096 * 2
    assert peak_bytes(model, 64, pooling) < result + 330 * MB


@pytest.fixture(scope="module")
def demo() -> LlavaInterleaveForConditionalGeneration:
    with encoder_half.one_rank():
        model = encoder_half.make(LlavaConfig.from_pretrained(checkpoints.DEMO), torch.float32)
    random = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=random)
    for module in model.modules():
        if isinstance(module, linear.LinearBase):
            module.quant_method.process_weights_after_loading(module)
    return model


@pytest.fixture
def calls(demo: LlavaInterleaveForConditionalGeneration, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of views of each call of the tower, which takes at most MOST."""
    monkeypatch.setattr(encoder_limits, "PATCHES_A_CALL", MOST * PATCHES)
    numbers: list[int] = []
    encode = demo.vision_tower.forward

    def counted(views: torch.Tensor) -> torch.Tensor:
        numbers.append(len(views))
        encoded: torch.Tensor = encode(views)
        return encoded

    monkeypatch.setattr(demo.vision_tower, "forward", counted)
    return numbers


def random_views(*shape: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(shape[0])
    return torch.randint(0, 256, (*shape, SIZE, SIZE, 3), generator=random, dtype=torch.uint8)


@torch.inference_mode()
def in_one_call(
    model: LlavaInterleaveForConditionalGeneration, views: torch.Tensor, poolings: list[Pooling]
) -> list[torch.Tensor]:
    return model.multi_modal_projector(model.vision_tower.forward(views), poolings)


@pytest.mark.parametrize(
    ("visuals", "batches"), [(1, [1]), (15, [15]), (16, [16]), (17, [8, 9]), (40, [13, 13, 14]), (96, [16] * 6)]
)
@pytest.mark.parametrize("as_list", [False, True], ids=["one tensor", "a tensor each"])
@torch.inference_mode()
def test_rows_are_bit_for_bit_those_of_one_call(
    demo: LlavaInterleaveForConditionalGeneration, calls: list[int], visuals: int, batches: list[int], as_list: bool
) -> None:
    poolings = [POOLINGS[index % len(POOLINGS)] for index in range(visuals)]
    views = random_views(visuals, 1)
    encoded = torch.tensor([processing.encode_pooling(pooling) for pooling in poolings])
    rows = demo.embed_multimodal(views=list(views) if as_list else views, poolings=encoded)
    assert calls == batches
    expected = in_one_call(demo, views.flatten(0, 1), poolings)
    assert all(torch.equal(*pair) for pair in zip(rows, expected, strict=True))
    assert all(each.untyped_storage().nbytes() == each.nbytes for each in rows)


@torch.inference_mode()
def test_frames_of_videos_are_encoded_together_and_belong_to_their_video(
    demo: LlavaInterleaveForConditionalGeneration, calls: list[int]
) -> None:
    videos = [random_views(frames) for frames in (3, 1, 20)]
    rows = demo.embed_multimodal(frames=videos)
    assert calls == [12, 12]
    expected = in_one_call(demo, torch.cat(videos), [UNPOOLED] * 24)
    assert [len(each) for each in rows] == [frames * PATCHES for frames in (3, 1, 20)]
    assert torch.equal(torch.cat(rows), torch.cat(expected))


def test_nothing_is_encoded_for_a_step_without_visuals(demo: LlavaInterleaveForConditionalGeneration) -> None:
    assert demo.embed_multimodal() == []
