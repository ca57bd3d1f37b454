"""The tower's attention on CPUs is compared with its definition in float64 and with torch's own."""

import pytest
import torch
from torch.nn import functional

from llava_interleave_serve.kernels import cpu, reference


def tensors(count: int, tokens: int, heads: int, size: int, spread: float) -> list[torch.Tensor]:
    """Query, key and value; the keys share an offset, as trained ones do, and scores grow with the spread."""
    random = torch.Generator().manual_seed(tokens)
    query, key, value = (torch.randn(count, tokens, heads * size, generator=random) for _ in range(3))
    key = key + 3 * torch.randn(heads * size, generator=random)
    # Parts of one tensor, as the tower's are.
    return list(torch.cat((query * spread, key, value), -1).bfloat16().chunk(3, -1))


def by_torch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    split = (tensor.unflatten(2, (heads, -1)).transpose(1, 2) for tensor in (query, key, value))
    return functional.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


def error(result: torch.Tensor, exact: torch.Tensor) -> float:
    """Root of the mean square, relative to the exact values'."""
    return float((result.double() - exact).norm() / exact.norm())


@pytest.mark.usefixtures("dirty")
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 8.0])
@pytest.mark.parametrize(("count", "tokens", "heads", "size"), [(1, 729, 16, 72), (2, 257, 5, 40), (3, 9, 3, 8)])
def test_attention_errors_are_at_most_two_and_a_half_times_those_of_torch(
    count: int, tokens: int, heads: int, size: int, spread: float
) -> None:
    query, key, value = tensors(count, tokens, heads, size, spread)
    exact = reference.attention(query.double(), key.double(), value.double(), heads, size**-0.5)
    result = cpu.attention(query, key, value, heads, size**-0.5)
    assert result.shape == value.shape
    assert error(result, exact) <= 2.5 * error(by_torch(query, key, value, heads), exact)


def test_attention_of_large_scores_is_more_exact_than_plain_bfloat16() -> None:
    query, key, value = tensors(1, 729, 16, 72, 8.0)
    exact = reference.attention(query.double(), key.double(), value.double(), 16, 72**-0.5)
    plain = reference.attention(query, key, value, 16, 72**-0.5)
    assert error(cpu.attention(query, key, value, 16, 72**-0.5), exact) < error(plain, exact) / 5


def test_attention_of_a_visual_does_not_depend_on_other_visuals() -> None:
    query, key, value = tensors(3, 300, 4, 24, 1.0)
    together = cpu.attention(query, key, value, 4, 0.2)
    for visual in range(3):
        own = slice(visual, visual + 1)
        alone = cpu.attention(query[own], key[own], value[own], 4, 0.2)
        assert together[visual].equal(alone[0])
