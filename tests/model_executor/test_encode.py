"""The encoding of visuals: the memory of one call, and the same rows however many visuals vLLM asks for at once."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from transformers import LlavaConfig
from vllm.model_executor.layers import linear

from llava_interleave_serve.kernels import reference
from llava_interleave_serve.model_executor import encoder_limits, packing
from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from llava_interleave_serve.model_executor.packing import VisualPacking
from llava_interleave_serve.model_executor.visual import NEWLINES, UNPOOLED, Newline, Pooling, Visual
from tests.support import checkpoints, encoder_half
from tests.support.checkpoints import GRID, IMAGE_SIZE, PATCHES
from tests.support.gpu import peak_bytes as peaks_of_memory
from tests.support.gpu.peak_bytes import peak_bytes, published

MB = 10**6
MOST = 16  # views of a call, in the tests of the demo's tower
POOLINGS = [UNPOOLED, Pooling("average", 2), Pooling("bilinear", 2), Pooling("max", 3), Pooling("average", 4)]


def encoded(pooling: Pooling = UNPOOLED, newline: Newline = "none") -> tuple[int, ...]:
    return packing.encode(Visual(np.zeros((1, 1, 1, 3), np.uint8), pooling, newline))


def packings_of(poolings: Sequence[Pooling]) -> list[VisualPacking]:
    return [packing.decode(encoded(pooling)) for pooling in poolings]


@pytest.mark.usefixtures("on_a_gpu")
@pytest.mark.parametrize("size", ["0.5b", "7b"])
def test_any_number_of_pooled_visuals_is_encoded_in_half_a_gigabyte(size: str) -> None:
    model = published(size)
    peaks = {visuals: peak_bytes(model, visuals, Pooling("average", 4)) for visuals in (1, 16, 64, 455)}
    assert 10 * MB < peaks[1] < 25 * MB
    assert peaks[1] < peaks[16] < peaks[64] < peaks[455] < 500 * MB


@pytest.mark.usefixtures("on_a_gpu")
def test_in_one_call_of_the_tower_they_would_take_gigabytes() -> None:
    assert peaks_of_memory.in_one_call(published("0.5b"), 455, Pooling("average", 4)) > 8_000 * MB


@pytest.mark.usefixtures("on_a_gpu")
@pytest.mark.parametrize("pooling", [UNPOOLED, Pooling("max", 2), Pooling("bilinear", 2)], ids=str)
def test_beside_its_result_a_call_takes_no_more_for_more_visuals(pooling: Pooling) -> None:
    model = published("7b")
    result = 64 * pooling.side(27) ** 2 * 4096 * 2
    assert peak_bytes(model, 64, pooling) < result + 330 * MB


@pytest.mark.usefixtures("on_a_gpu")
@pytest.mark.parametrize(("resolution", "pictures"), [((768, 768), 1), ((768, 768), 16), ((2304, 2304), 2)])
def test_pictures_of_several_views_take_little_more_than_their_rows(resolution: tuple[int, int], pictures: int) -> None:
    model = published("7b")
    model.image_newline = torch.empty(4096, dtype=torch.bfloat16, device="meta")
    layout = AnyResolution((resolution,), 384, 27, 9).layout(*resolution)
    views = torch.empty(pictures, layout.num_views, 384, 384, 3, dtype=torch.uint8, device="meta")
    numbers = packing.encode(Visual(np.zeros((layout.num_views, 1, 1, 3), np.uint8), layout=layout))
    with torch.inference_mode(), encoder_half.PeakBytes() as measured:
        rows = model.embed_multimodal(views=views, packings=torch.tensor([numbers] * pictures))
    assert [len(each) for each in rows] == [layout.num_tokens] * pictures
    projected = max(16 + layout.num_views - 1, layout.num_views) * 729 * (1152 + 2 * 4096) * 2
    assert measured.peak < sum(each.nbytes for each in rows) + projected + 250 * MB


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
    return torch.randint(0, 256, (*shape, IMAGE_SIZE, IMAGE_SIZE, 3), generator=random, dtype=torch.uint8)


@torch.inference_mode()
def in_one_call(
    model: LlavaInterleaveForConditionalGeneration, views: torch.Tensor, packings: list[VisualPacking]
) -> list[torch.Tensor]:
    return model.multi_modal_projector(model.vision_tower.forward(views), packings, model.image_newline)


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
    packings = torch.tensor([encoded(pooling) for pooling in poolings])
    rows = demo.embed_multimodal(views=list(views) if as_list else views, packings=packings)
    assert calls == batches
    expected = in_one_call(demo, views.flatten(0, 1), packings_of(poolings))
    assert all(torch.equal(*pair) for pair in zip(rows, expected, strict=True))
    assert all(each.untyped_storage().nbytes() == each.nbytes for each in rows)


@torch.inference_mode()
def test_frames_of_videos_are_encoded_together_and_belong_to_their_video(
    demo: LlavaInterleaveForConditionalGeneration, calls: list[int]
) -> None:
    videos = [random_views(frames) for frames in (3, 1, 20)]
    packings = [torch.tensor([encoded()] * len(video)) for video in videos]
    rows = demo.embed_multimodal(frames=videos, frame_packings=packings)
    assert calls == [12, 12]
    expected = in_one_call(demo, torch.cat(videos), packings_of([UNPOOLED] * 24))
    assert [len(each) for each in rows] == [frames * PATCHES for frames in (3, 1, 20)]
    assert torch.equal(torch.cat(rows), torch.cat(expected))


@pytest.fixture
def newline(demo: LlavaInterleaveForConditionalGeneration, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """The newline that the demo's model has in the test."""
    row = torch.randn(demo.config.text_config.hidden_size, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(demo, "image_newline", row)
    return row


@pytest.mark.parametrize("pooling", [*POOLINGS, Pooling("average", 2, True), Pooling("max", 3, True)], ids=str)
@pytest.mark.parametrize("place", NEWLINES)
@torch.inference_mode()
def test_rows_are_those_of_projecting_then_pooling_then_placing_newlines(
    demo: LlavaInterleaveForConditionalGeneration, newline: torch.Tensor, pooling: Pooling, place: Newline
) -> None:
    views = random_views(2)
    features, project = demo.vision_tower(views), in_projector(demo)
    if pooling.before_projector:
        projected = project(reference.pool(features, pooling.mode, pooling.stride))
    else:
        projected = reference.pool(project(features), pooling.mode, pooling.stride)
    square = projected.unflatten(1, (pooling.side(GRID), -1))
    for rows, lines in zip(
        demo.embed_multimodal(views=views[:, None], packings=torch.tensor([encoded(pooling, place)] * 2)),
        square,
        strict=True,
    ):
        wanted = lines.flatten(0, 1)
        if place == "row":
            wanted = torch.cat([row for line in lines for row in (line, newline[None])])
        elif place == "end":
            wanted = torch.cat((wanted, newline[None]))
        torch.testing.assert_close(rows, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


def in_projector(model: LlavaInterleaveForConditionalGeneration) -> Callable[[torch.Tensor], torch.Tensor]:
    """The projector's layers, one after the other, on features [n, patches, C]."""
    projector = model.multi_modal_projector

    def project(features: torch.Tensor) -> torch.Tensor:
        hidden, _ = projector.linear_1(features)
        projected, _ = projector.linear_2(projector.act(hidden))
        return projected

    return project


@torch.inference_mode()
def test_pictures_through_any_resolution_are_encoded_with_others_as_alone(
    demo: LlavaInterleaveForConditionalGeneration, newline: torch.Tensor, calls: list[int]
) -> None:
    one, two, three = (tiles * IMAGE_SIZE for tiles in (1, 2, 3))
    any_resolution = AnyResolution(((one, two), (two, one), (two, two), (three, one)), IMAGE_SIZE, GRID)
    reduced = AnyResolution(((three, three),), IMAGE_SIZE, GRID, max_tiles=4)
    layouts = [any_resolution.layout(200, 90), reduced.layout(310, 330), any_resolution.layout(9, 40)]
    views = [random_views(layout.num_views) for layout in layouts]
    packings = [
        packing.encode(Visual(each.numpy(), layout=layout)) for each, layout in zip(views, layouts, strict=True)
    ]
    views.append(random_views(1))
    packings.append(encoded(Pooling("max", 2), "end"))
    views.insert(1, random_views(1))
    packings.insert(1, encoded(Pooling("average", 2), "row"))
    together = demo.embed_multimodal(views=views, packings=torch.tensor(packings))
    assert sum(calls) == sum(map(len, views))
    assert max(calls) <= MOST
    for rows, each, numbers in zip(together, views, packings, strict=True):
        alone = demo.embed_multimodal(views=each[None], packings=torch.tensor([numbers]))[0]
        torch.testing.assert_close(rows, alone, rtol=0, atol=1e-5 * float(alone.abs().max()))
        features = in_projector(demo)(demo.vision_tower(each))
        wanted = reference.pool_pack(features, [packing.decode(numbers).packing], newline)
        torch.testing.assert_close(rows, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


def test_nothing_is_encoded_for_a_step_without_visuals(demo: LlavaInterleaveForConditionalGeneration) -> None:
    assert demo.embed_multimodal() == []
