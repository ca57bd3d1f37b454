"""Operators are seen by torch and by our model as one node with one schema."""

import doctest
from collections.abc import Callable
from typing import Any

import pytest
import torch

from llava_interleave_serve.kernels import index_plan, ops, reference
from llava_interleave_serve.kernels.index_plan import Packing
from llava_interleave_serve.model_executor import visual

PACKINGS = [Packing(), Packing("max", 2)]
VIEWS = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
THREE = torch.ones(3)
FEATURES, PLAN = torch.randn(2, 9, 4), index_plan.build(3, PACKINGS)
IDS, TABLE, ROWS = torch.tensor([1, 0]), torch.randn(5, 4), torch.randn(1, 4)
ROW_INDEX = torch.tensor([-1, 0], dtype=torch.int32)


def test_pooling_modes_and_sides_of_kernels_are_those_of_the_model() -> None:
    assert index_plan.POOLING_MODES == visual.POOLING_MODES
    assert index_plan.NEWLINES == visual.NEWLINES
    for mode in index_plan.POOLING_MODES:
        for stride in (1,) if mode == "none" else visual.POOLING_STRIDES:
            pooling = visual.Pooling(mode, stride)
            assert all(index_plan.pooled_side(grid, mode, stride) == pooling.side(grid) for grid in range(stride, 40))


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (ops._patchify, (VIEWS, THREE, THREE, 4, torch.float16)),
        (ops._pool_pack, (FEATURES, PLAN, None)),
        (ops._pool_pack, (FEATURES, index_plan.build(3, [Packing(newline="row")] * 2), torch.randn(4))),
        (ops._merge_prefill, (IDS, TABLE, ROWS, ROW_INDEX)),
    ],
)  # fmt: skip
def test_schema_and_fake_of_each_operator_agree_with_its_implementation(
    operator: torch.library.CustomOpDef, arguments: tuple[Any, ...]
) -> None:
    torch.library.opcheck(operator, arguments)


def test_each_operator_is_one_node_of_a_compiled_graph() -> None:
    graphs = []

    def prefill(views: torch.Tensor, features: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        rows = ops.pool_pack(features + ops.patchify(views, THREE, THREE, 4, torch.float32).sum(), PLAN)
        return ops.merge_prefill(ids, TABLE, rows, ROW_INDEX)

    def keep(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append([str(node.target) for node in graph.graph.nodes if "llava_interleave" in str(node.target)])
        return graph

    compiled = torch.compile(prefill, backend=keep, fullgraph=True)
    torch.testing.assert_close(compiled(VIEWS, FEATURES, IDS), prefill(VIEWS, FEATURES, IDS))
    assert [name.split(".")[1] for name in graphs[0]] == ["patchify", "pool_pack", "merge_prefill"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.patchify(VIEWS.float(), THREE, THREE, 4, torch.float32), "views must be uint8"),
        (lambda: ops.patchify(VIEWS[:, :5], THREE, THREE, 4, torch.float32), r"not uint8 \[1, 5, 8, 3\]"),
        (lambda: ops.patchify(VIEWS, THREE, THREE, 9, torch.float32), "patch of 9 does not fit views of 8"),
        (lambda: ops.patchify(VIEWS, THREE[:2], THREE, 4, torch.float32), "scale must be float32"),
        (lambda: ops.patchify(VIEWS, THREE, THREE, 4, torch.int32), "rows cannot be torch.int32"),
        (lambda: ops.patchify(VIEWS, THREE.to("meta"), THREE, 4, torch.float32), "several devices: cpu, meta"),
        (lambda: ops.pool_pack(FEATURES[:, :8], PLAN), r"features must be \[V, G\*G, C\]"),
        (lambda: ops.pool_pack(FEATURES, PLAN.long()), "plan must be int32"),
        (lambda: ops.pool_pack(FEATURES, PLAN, torch.randn(3)), "newline must be"),
        (lambda: ops.merge_prefill(IDS.float(), TABLE, ROWS, ROW_INDEX), "token ids must be int"),
        (lambda: ops.merge_prefill(IDS, TABLE, ROWS.half(), ROW_INDEX), "rows must be torch.float32"),
        (lambda: ops.merge_prefill(IDS, TABLE, ROWS, ROW_INDEX[:1]), r"row_index must be int32 \[2\]"),
    ],
)
def test_operators_refuse_other_shapes_and_dtypes_with_a_reason(call: Callable[[], torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_operators_take_columns_that_are_not_contiguous() -> None:
    features = FEATURES.mT.contiguous().mT
    assert ops.pool_pack(features, PLAN).equal(reference.pool_pack(FEATURES, PACKINGS))
    assert ops.merge_prefill(IDS, TABLE.T.contiguous().T, ROWS, ROW_INDEX).equal(torch.stack((TABLE[1], ROWS[0])))


def test_the_examples_in_the_docstrings_of_operators_run() -> None:
    results = doctest.testmod(ops, extraglobs={"index_plan": index_plan, "Packing": Packing})
    assert results.failed == 0
    assert results.attempted == 9
