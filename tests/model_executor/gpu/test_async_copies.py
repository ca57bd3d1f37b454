"""A step waits for no copy to the device: each is from pinned memory, by the rules of vLLM's VLLM_GPU_SYNC_CHECK.

The device is meta, whose tensors have sizes and no memory.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlavaConfig
from vllm.utils import gpu_sync_debug, torch_utils

from llava_interleave_serve.model_executor import encoder_limits, vllm_compat
from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling
from tests.support import checkpoints, encoder_half
from tests.support.checkpoints import GRID, IMAGE_SIZE, PATCHES
from tests.support.fakes import platform

POOLINGS = [Pooling("max", 2), UNPOOLED, Pooling("bilinear", 2), Pooling("max", 3), Pooling("average", 4)]


class Waits(TorchDispatchMode):  # type: ignore[misc]  # torch is not typed here
    """Raises AssertionError where a GPU would be waited for; counts the copies to it."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        assert func is not torch.ops.aten.index.Tensor, "a list of indices is copied to the device"
        result = func(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        on_the_cpu = [tensor for tensor in given if tensor.device.type == "cpu" and tensor.dim() > 0]
        if on_the_cpu and any(tensor.is_meta for tensor in [*given, *made]):
            assert func is torch.ops.aten._to_copy.default, f"{func} moves a CPU's tensor to the device by itself"
            assert kwargs.get("non_blocking"), "the copy is waited for"
            why = gpu_sync_debug._cpu_copy_stall_reason(on_the_cpu[0], torch.device("cuda"))
            assert why is None, why
            self.copies += 1
        return result


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is asked for as pinned is remembered as such: there is none without a GPU."""
    storages = set()
    empty = torch.empty

    def made(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        tensor = empty(*shape, **options)
        if pin_memory:
            storages.add(tensor.untyped_storage()._cdata)
        return tensor

    monkeypatch.setattr(torch, "empty", made)
    monkeypatch.setattr(torch_utils, "is_pin_memory_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda tensor: tensor.untyped_storage()._cdata in storages)


@pytest.fixture(scope="module")
def encoder() -> LlavaInterleaveForConditionalGeneration:
    with encoder_half.one_rank(), pytest.MonkeyPatch.context() as patch:
        platform.take_for_a_gpu(patch)
        return encoder_half.make(LlavaConfig.from_pretrained(checkpoints.DEMO), torch.bfloat16, "meta")


@pytest.fixture
def waits(on_a_gpu: None, pinned: None) -> Iterator[Waits]:
    with torch.no_grad(), Waits() as mode:  # in inference mode a copy is not told from a change of dtype
        yield mode


@pytest.mark.parametrize(("visuals", "copies"), [(1, 1), (2, 1), (5, 2), (20, 4)])
def test_encoding_waits_for_no_copy(
    encoder: LlavaInterleaveForConditionalGeneration,
    waits: Waits,
    visuals: int,
    copies: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoder_limits, "PATCHES_A_CALL", 16 * PATCHES)
    views = torch.empty(visuals, 1, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8, device="meta")
    poolings = [POOLINGS[index % len(POOLINGS)] for index in range(visuals)]
    rows = encoder.embed_multimodal(views=views, packings=encoder_half.packings(poolings))
    assert [len(each) for each in rows] == [pooling.side(GRID) ** 2 for pooling in poolings]
    assert waits.copies == copies  # a plan for each batch and group that is pooled


def test_a_prefill_waits_for_no_copy(
    encoder: LlavaInterleaveForConditionalGeneration, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = torch.empty(100, 192, dtype=torch.bfloat16, device="meta")
    language_model = SimpleNamespace(model=SimpleNamespace(embed_tokens=None))
    monkeypatch.setattr(encoder, "language_model", language_model, raising=False)
    monkeypatch.setattr(vllm_compat, "plain_table", lambda _: table)
    ids = torch.empty(PATCHES + 11, dtype=torch.int32, device="meta")
    rows = [torch.empty(PATCHES, 192, dtype=torch.bfloat16, device="meta")]
    is_visual = torch.arange(PATCHES + 11) < PATCHES
    embedded = encoder.embed_input_ids(ids, rows, is_multimodal=is_visual)
    assert embedded.shape == (PATCHES + 11, 192)
    assert waits.copies == 1


def test_a_list_of_indices_and_pageable_memory_are_noticed(waits: Waits) -> None:
    features = torch.empty(3, 4, device="meta")
    with pytest.raises(AssertionError, match="list of indices"):
        features[[0, 2]]
    with pytest.raises(AssertionError, match="by itself"):
        features.copy_(torch.ones(3, 4))
    with pytest.raises(AssertionError, match="not pinned"):
        torch.arange(3).to("meta", non_blocking=True)
    with pytest.raises(AssertionError, match="waited for"):
        torch.arange(3).to("meta")
