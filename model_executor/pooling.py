"""Pooling of a visual's grid of features."""

from collections.abc import Sequence

import torch
from torch.nn import functional

from llava_interleave_serve.model_executor.visual import Pooling


def pool(features: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pools square grids of features: [n, G*G, C] to [n, P*P, C], P = pooling.side(G), in the dtype they come in.

    As `get_2dPool` of the reference implementation (LLaVA-NeXT, llava/model/llava_arch.py): average and max over
    stride x stride windows, or bilinear (align_corners False, no antialias) to ceil(G / stride).
    """
    if pooling.mode == "none":
        return features
    grid = round(features.shape[1] ** 0.5)
    side = pooling.side(grid)
    planes = features.unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    match pooling.mode:
        case "average":
            pooled = functional.avg_pool2d(planes, pooling.stride)
        case "max":
            pooled = functional.max_pool2d(planes, pooling.stride)
        case _:
            pooled = functional.interpolate(planes, size=(side, side), mode="bilinear", align_corners=False)
    return pooled.permute(0, 2, 3, 1).flatten(1, 2)


def pool_each(features: torch.Tensor, poolings: Sequence[Pooling]) -> list[torch.Tensor]:
    """Pools every visual its own way, those of one pooling together: [n, G*G, C] to n tensors [P_i*P_i, C]."""
    pooled: dict[int, torch.Tensor] = {}
    for pooling in dict.fromkeys(poolings):
        members = [at for at, other in enumerate(poolings) if other == pooling]
        group = features if len(members) == len(poolings) else features[members]
        pooled |= zip(members, pool(group, pooling), strict=True)
    return [pooled[at] for at in range(len(poolings))]
