"""The tower's attention on CPUs against its definition in float64, and against torch's own."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from llava_interleave_serve.kernels import cpu, reference
from llava_interleave_serve.model_executor.tower_attention import LEAST_PATCHES, place


def tensors(count: int, tokens: int, heads: int, size: int, spread: float) -> list[torch.Tensor]:
    """Query, key and value; the keys share an offset, as trained ones do, and scores grow with the spread."""
    random = torch.Generator().manual_seed(tokens)
    query, key, value = (torch.randn(count, tokens, heads * size, generator=random) for _ in range(3))
    key = key + 3 * torch.randn(heads * size, generator=random)
    # Parts of one tensor, as the tower's are.
    return list(torch.cat((query * spread, key, value), -1).bfloat16().chunk(3, -1))


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.forward = function


def by_torch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    split = (each.unflatten(2, (heads, -1)).transpose(1, 2) for each in (query, key, value))
    return functional.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


def error(got: torch.Tensor, exact: torch.Tensor) -> float:
    """Root of the mean square, relative to the exact values'."""
    return float((got.double() - exact).norm() / exact.norm())


@pytest.mark.usefixtures("dirty")
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 8.0])
@pytest.mark.parametrize(("count", "tokens", "heads", "size"), [(1, 729, 16, 72), (2, 257, 5, 40), (3, 9, 3, 8)])
def test_errors_are_at_most_two_and_a_half_times_those_of_torch(
    count: int, tokens: int, heads: int, size: int, spread: float
):
    query, key, value = tensors(count, tokens, heads, size, spread)
    exact = reference.attention(query.double(), key.double(), value.double(), heads, size**-0.5)
    got = cpu.attention(query, key, value, heads, size**-0.5)
    assert got.shape == value.shape
    assert error(got, exact) <= 2.5 * error(by_torch(query, key, value, heads), exact)


def test_large_scores_are_not_told_by_bfloat16_alone() -> None:
    query, key, value = tensors(1, 729, 16, 72, 8.0)
    exact = reference.attention(query.double(), key.double(), value.double(), 16, 72**-0.5)
    plain = reference.attention(query, key, value, 16, 72**-0.5)
    assert error(cpu.attention(query, key, value, 16, 72**-0.5), exact) < error(plain, exact) / 5


def test_visuals_do_not_see_one_another() -> None:
    query, key, value = tensors(3, 300, 4, 24, 1.0)
    together = cpu.attention(query, key, value, 4, 0.2)
    for each in range(3):
        alone = cpu.attention(query[each : each + 1], key[each : each + 1], value[each : each + 1], 4, 0.2)
        assert together[each].equal(alone[0])


@pytest.mark.parametrize(
    ("dtype", "tokens", "is_ours"),
    [
        (torch.bfloat16, LEAST_PATCHES, True),
        (torch.bfloat16, LEAST_PATCHES - 1, False),
        (torch.float32, LEAST_PATCHES, False),
    ],
)
def test_it_stands_before_the_attention_of_each_layer(dtype: torch.dtype, tokens: int, is_ours: bool) -> None:
    asked: list[int] = []

    def other(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        asked.append(len(query))
        return by_torch(query, key, value, 4)

    attention = SimpleNamespace(attn=Lambda(other), num_heads_per_partition=4, scale=0.25)
    place(SimpleNamespace(self_attn=attention))
    query, key, value = (each.to(dtype) for each in tensors(2, tokens, 4, 16, 1.0))
    got = attention.attn(query, key, value)
    assert asked == ([] if is_ours else [2])
    assert got.dtype == dtype
    torch.testing.assert_close(
        got, by_torch(query, key, value, 4), atol=0.02 if dtype == torch.bfloat16 else 1e-5, rtol=0
    )
