"""The operators, compiled and on a GPU, agree with their definitions."""

import pytest
import torch

from llava_interleave_serve.kernels import index_plan, ops, reference
from llava_interleave_serve.kernels.index_plan import Packing, Tiles
from tests.support.tolerance import assert_as_exact_as_eager

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("count", [1, 2, 4, 17])
@pytest.mark.parametrize(("side", "patch"), [(384, 14), (112, 16), (29, 4)])
def test_patchify_agrees_with_the_oracle_on_a_gpu(count: int, side: int, patch: int, dtype: torch.dtype) -> None:
    views = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8)
    scale, shift = torch.tensor([0.01, 0.02, 1 / 127.5]), torch.tensor([-1.0, 0.3, -0.5])
    oracle = reference.patchify(views, scale.double(), shift.double(), patch, torch.float64)
    eager = reference.patchify(views, scale, shift, patch, dtype)
    rows = ops.patchify(views.cuda(), scale.cuda(), shift.cuda(), patch, dtype)
    assert_as_exact_as_eager(rows.cpu(), eager, oracle)


@pytest.mark.parametrize("channels", [77, 1024, 4096])
def test_pool_pack_agrees_with_the_oracle_on_a_gpu(channels: int, dtype: torch.dtype) -> None:
    packings = [Packing(mode, stride, "end") for mode in ("average", "max", "bilinear") for stride in (2, 3, 4)]
    packings += [Packing(newline="row"), Packing(tiles=Tiles(2, 2, 7, 0, 40, 54))]
    packings += [Packing(tiles=Tiles(3, 2, 0, 3, 54, 75, (40, 55)))]
    features = torch.randn(sum(packing.views for packing in packings), 27**2, channels).to(dtype)
    newline = torch.randn(channels).to(dtype)
    oracle = reference.pool_pack(features.double(), packings, newline.double())
    rows = ops.pool_pack(features.cuda(), index_plan.build(27, packings).cuda(), newline.cuda())
    assert_as_exact_as_eager(rows.cpu(), reference.pool_pack(features, packings, newline), oracle)


@pytest.mark.parametrize("channels", [77, 1024, 4096])
def test_merge_prefill_is_its_definition_bit_by_bit_on_a_gpu(channels: int, dtype: torch.dtype) -> None:
    is_visual = torch.rand(4096) < 0.7
    ids = torch.randint(0, 1000, is_visual.shape)
    table, rows = torch.randn(1000, channels).to(dtype), torch.randn(int(is_visual.sum()), channels).to(dtype)
    row_index = index_plan.visual_row_indices(is_visual)
    merged = ops.merge_prefill(ids.cuda(), table.cuda(), rows.cuda(), row_index.cuda())
    assert merged.cpu().equal(reference.merge_prefill(ids, table, rows, row_index))
