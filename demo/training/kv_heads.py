"""KV heads that several query heads share, as heads of their own."""

import re
from collections.abc import Mapping

import torch

PROJECTION = re.compile(r"\.[kv]_proj\.")


def repeated(weights: Mapping[str, torch.Tensor], heads: int, repeats: int) -> dict[str, torch.Tensor]:
    """The weights of a language model, each of its KV heads repeated: the model computes what it did.

    weights: by name; keys' and values' are [heads * D, C], their biases [heads * D].
    """
    return {
        name: weight.unflatten(0, (heads, -1)).repeat_interleave(repeats, 0).flatten(0, 1)
        if PROJECTION.search(name)
        else weight
        for name, weight in weights.items()
    }
