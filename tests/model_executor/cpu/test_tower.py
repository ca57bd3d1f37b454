"""Layers of the vision tower get our attention and the fused GELU on a CPU."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from llava_interleave_serve.model_executor import vllm_compat
from llava_interleave_serve.model_executor.cpu.tower import (
    MIN_PATCHES,
    TANH_GELU,
    GeluLinear,
    fuse_gelu,
    replace_attention,
)
from llava_interleave_serve.server.engine.vllm_compat import has_bfloat16


def layer(dtype: torch.dtype = torch.bfloat16) -> Any:
    fc1 = nn.Linear(48, 80, dtype=dtype)
    fc1.quant_method = vllm_compat.UnquantizedLinearMethod()
    return SimpleNamespace(mlp=SimpleNamespace(fc1=fc1, activation_fn=nn.GELU(approximate="tanh")))


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16 products")
@pytest.mark.parametrize("rows", [1, 49, 1000])
def test_gelu_linear_is_the_product_and_then_the_gelu(rows: int) -> None:
    torch.manual_seed(rows)
    mlp = layer().mlp
    inputs = torch.randn(2, rows, 48).bfloat16()
    weight, bias = mlp.fc1.weight.detach().double(), mlp.fc1.bias.detach()
    exact = functional.gelu(functional.linear(inputs.double(), weight, bias.double()), approximate="tanh")
    method = GeluLinear()
    method.process_weights_after_loading(mlp.fc1)
    with torch.inference_mode():
        result = method.apply(mlp.fc1, inputs, bias)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.double(), exact, atol=2**-9, rtol=2**-8)


@pytest.mark.parametrize(
    ("dtype", "activation", "is_ours"),
    [(torch.bfloat16, TANH_GELU, True), (torch.float32, TANH_GELU, False), (torch.bfloat16, "gelu", False)],
)
def test_the_gelu_is_fused_only_if_the_fused_product_computes_the_same(
    dtype: torch.dtype, activation: str, is_ours: bool
) -> None:
    encoder_layer = layer(dtype)
    fuse_gelu(encoder_layer, activation)
    assert isinstance(encoder_layer.mlp.fc1.quant_method, GeluLinear) is is_ours
    assert isinstance(encoder_layer.mlp.activation_fn, nn.Identity) is is_ours


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.forward = function


def by_torch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    split = (tensor.unflatten(2, (heads, -1)).transpose(1, 2) for tensor in (query, key, value))
    return functional.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("dtype", "patches", "is_ours"),
    [
        (torch.bfloat16, MIN_PATCHES, True),
        (torch.bfloat16, MIN_PATCHES - 1, False),
        (torch.float32, MIN_PATCHES, False),
    ],
)
def test_the_attention_of_a_layer_is_replaced_only_where_the_replacement_is_faster(
    dtype: torch.dtype, patches: int, is_ours: bool
) -> None:
    calls: list[int] = []

    def fallback(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        calls.append(len(query))
        return by_torch(query, key, value, 4)

    attention = SimpleNamespace(attn=Lambda(fallback), num_heads_per_partition=4, scale=0.25)
    replace_attention(SimpleNamespace(self_attn=attention))
    random = torch.Generator().manual_seed(patches)
    query, key, value = (torch.randn(2, patches, 64, generator=random).to(dtype) for _ in range(3))
    key = key + 3 * torch.randn(64, generator=random).to(dtype)
    attended = attention.attn(query, key, value)
    assert calls == ([] if is_ours else [2])
    assert attended.dtype == dtype
    expected = by_torch(query, key, value, 4)
    torch.testing.assert_close(attended, expected, atol=0.02 if dtype == torch.bfloat16 else 1e-5, rtol=0)
