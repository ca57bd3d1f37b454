"""The GELU inside the tower's first linear layer."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from llava_interleave_serve.model_executor import vllm_compat
from llava_interleave_serve.model_executor.tower_gelu import GELU, GeluLinear, place
from llava_interleave_serve.server.engine.vllm_compat import has_bfloat16


def layer(dtype: torch.dtype = torch.bfloat16) -> Any:
    fc1 = nn.Linear(48, 80, dtype=dtype)
    fc1.quant_method = vllm_compat.UnquantizedLinearMethod()
    return SimpleNamespace(mlp=SimpleNamespace(fc1=fc1, activation_fn=nn.GELU(approximate="tanh")))


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16 products")
@pytest.mark.parametrize("rows", [1, 49, 1000])
def test_it_is_the_product_and_then_the_gelu(rows: int) -> None:
    torch.manual_seed(rows)
    mlp = layer().mlp
    inputs = torch.randn(2, rows, 48).bfloat16()
    weight, bias = mlp.fc1.weight.detach().double(), mlp.fc1.bias.detach()
    exact = functional.gelu(functional.linear(inputs.double(), weight, bias.double()), approximate="tanh")
    method = GeluLinear()
    method.process_weights_after_loading(mlp.fc1)
    with torch.inference_mode():
        got = method.apply(mlp.fc1, inputs, bias)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.double(), exact, atol=2**-9, rtol=2**-8)


@pytest.mark.parametrize(
    ("dtype", "activation", "is_ours"),
    [(torch.bfloat16, GELU, True), (torch.float32, GELU, False), (torch.bfloat16, "gelu", False)],
)
def test_it_is_placed_where_it_computes_the_same(dtype: torch.dtype, activation: str, is_ours: bool) -> None:
    found = layer(dtype)
    place(found, activation)
    assert isinstance(found.mlp.fc1.quant_method, GeluLinear) is is_ours
    assert isinstance(found.mlp.activation_fn, nn.Identity) is is_ours
