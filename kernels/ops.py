"""The operators, as torch sees them: validated, and carried out by what the device has.

CUDA and ROCm tensors go to Triton kernels, CPU tensors to torch code; another device is an error. Each operator is one
node to `torch.compile`.
"""

import math

import torch
from torch import Tensor

from llava_interleave_serve.kernels import cpu

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def patchify(views: Tensor, scale: Tensor, shift: Tensor, patch: int, dtype: torch.dtype) -> Tensor:
    """uint8 views [V, S, S, 3] to normalised patch rows [V*G*G, P*P*3], G = S // P, in `dtype` (`reference.patchify`).

    scale, shift: float32 [3], so that a value is view * scale + shift. The columns of a row are in the order (y, x,
    channel): one matrix product with the patch embedding's weight [C, 3, P, P], permuted to [C, P, P, 3], is the
    convolution.

    Raises ValueError for other shapes or dtypes, or tensors on different devices.
    """
    shape = views.shape
    _need(views.dtype == torch.uint8 and views.dim() == 4 and shape[1] == shape[2] and shape[3] == 3,
          f"views must be uint8 [V, S, S, 3], not {_said(views)}")  # fmt: skip
    _need(1 <= patch <= shape[1], f"a patch of {patch} does not fit views of {shape[1]}")
    for name, tensor in (("scale", scale), ("shift", shift)):
        _need(
            tensor.dtype == torch.float32 and tensor.shape == (3,), f"{name} must be float32 [3], not {_said(tensor)}"
        )
    _need(dtype in FLOATS, f"rows cannot be {dtype}")
    _need_one_device(views, scale, shift)
    return _patchify(views.contiguous(), scale, shift, patch, dtype)


def pool_pack(features: Tensor, plan: Tensor, newline: Tensor | None = None) -> Tensor:
    """Features [V, G*G, C] of a mixed batch of visuals, pooled and packed: rows [R, C] (`reference.pool_pack`).

    plan: int32 [R, 4] of `packing.plan`; newline: [C], needed where the plan has newline rows.

    Raises ValueError for other shapes or dtypes, or tensors on different devices.
    """
    _need(features.dim() == 3 and math.isqrt(features.shape[1]) ** 2 == features.shape[1] > 0,
          f"features must be [V, G*G, C], not {_said(features)}")  # fmt: skip
    _need(features.dtype in FLOATS, f"features cannot be {features.dtype}")
    _need(plan.dtype == torch.int32 and plan.dim() == 2 and plan.shape[1] == 4,
          f"the plan must be int32 [R, 4], not {_said(plan)}")  # fmt: skip
    if newline is not None:
        _need(newline.shape == features.shape[2:] and newline.dtype == features.dtype,
              f"newline must be {features.dtype} [{features.shape[2]}], not {_said(newline)}")  # fmt: skip
    _need_one_device(features, plan, *(() if newline is None else (newline,)))
    rows = features if features.stride(2) == 1 else features.contiguous()
    return _pool_pack(rows, plan.contiguous(), None if newline is None else newline.contiguous())


def merge_prefill(token_ids: Tensor, table: Tensor, rows: Tensor, place: Tensor) -> Tensor:
    """The prefill's input embeddings [T, C]: rows[place] where place >= 0, table[token_id] elsewhere.

    token_ids: int [T]; table: [vocabulary, C]; rows: [R, C] of its dtype; place: int32 [T] of `packing.places`.

    Raises ValueError for other shapes or dtypes, or tensors on different devices.
    """
    _need(token_ids.dim() == 1 and token_ids.dtype in (torch.int32, torch.int64),
          f"token ids must be int [T], not {_said(token_ids)}")  # fmt: skip
    _need(table.dim() == 2 and table.dtype in FLOATS, f"the table must be float [vocabulary, C], not {_said(table)}")
    _need(rows.dim() == 2 and rows.shape[1] == table.shape[1] and rows.dtype == table.dtype,
          f"rows must be {table.dtype} [R, {table.shape[1]}], not {_said(rows)}")  # fmt: skip
    _need(place.dtype == torch.int32 and place.shape == token_ids.shape,
          f"place must be int32 [{len(token_ids)}], not {_said(place)}")  # fmt: skip
    _need_one_device(token_ids, table, rows, place)
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    table = table if table.stride(1) == 1 else table.contiguous()
    return _merge_prefill(token_ids.contiguous(), table, rows, place.contiguous())


def _need(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


def _said(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _need_one_device(*tensors: Tensor) -> None:
    devices = {tensor.device for tensor in tensors}
    _need(len(devices) == 1, f"tensors are on several devices: {', '.join(sorted(map(str, devices)))}")


@torch.library.custom_op("llava_interleave::patchify", mutates_args=(), device_types="cpu")
def _patchify(views: Tensor, scale: Tensor, shift: Tensor, patch: int, dtype: torch.dtype) -> Tensor:
    return cpu.patchify(views, scale, shift, patch, dtype)


@_patchify.register_kernel("cuda")
def _(views: Tensor, scale: Tensor, shift: Tensor, patch: int, dtype: torch.dtype) -> Tensor:
    from llava_interleave_serve.kernels._triton import patchify as kernel  # noqa: PLC0415 - Triton is slow to import

    return kernel.launch(views, scale, shift, patch, dtype)


@_patchify.register_fake
def _(views: Tensor, scale: Tensor, shift: Tensor, patch: int, dtype: torch.dtype) -> Tensor:
    grid = views.shape[1] // patch
    return views.new_empty(views.shape[0] * grid * grid, patch * patch * 3, dtype=dtype)


@torch.library.custom_op("llava_interleave::pool_pack", mutates_args=(), device_types="cpu")
def _pool_pack(features: Tensor, plan: Tensor, newline: Tensor | None) -> Tensor:
    return cpu.pool_pack(features, plan, newline)


@_pool_pack.register_kernel("cuda")
def _(features: Tensor, plan: Tensor, newline: Tensor | None) -> Tensor:
    from llava_interleave_serve.kernels._triton import pool_pack as kernel  # noqa: PLC0415

    return kernel.launch(features, plan, newline)


@_pool_pack.register_fake
def _(features: Tensor, plan: Tensor, newline: Tensor | None) -> Tensor:
    return features.new_empty(plan.shape[0], features.shape[2])


@torch.library.custom_op("llava_interleave::merge_prefill", mutates_args=(), device_types="cpu")
def _merge_prefill(token_ids: Tensor, table: Tensor, rows: Tensor, place: Tensor) -> Tensor:
    return cpu.merge_prefill(token_ids, table, rows, place)


@_merge_prefill.register_kernel("cuda")
def _(token_ids: Tensor, table: Tensor, rows: Tensor, place: Tensor) -> Tensor:
    from llava_interleave_serve.kernels._triton import merge_prefill as kernel  # noqa: PLC0415

    return kernel.launch(token_ids, table, rows, place)


@_merge_prefill.register_fake
def _(token_ids: Tensor, table: Tensor, rows: Tensor, place: Tensor) -> Tensor:
    return table.new_empty(token_ids.shape[0], table.shape[1])
