"""The operators as torch custom operators: they check their arguments and call the device's implementation.

CUDA and ROCm tensors go to Triton kernels, CPU tensors to torch code; another device is an error. Each operator is one
node to `torch.compile`.
"""

import math

import torch
from torch import Tensor

from llava_interleave_serve.kernels import cpu, index_plan

FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def patchify(views: Tensor, scale: Tensor, shift: Tensor, patch: int, dtype: torch.dtype) -> Tensor:
    """Cuts views into patches and normalises them (`reference.patchify`).

    One matrix product of the rows with the patch embedding's weight [C, 3, P, P], permuted to [C, P, P, 3] and padded
    to the rows' width, is the convolution.

    Args:
        views: uint8 [V, S, S, 3], RGB.
        scale: float32 [3], by channel; a value of the result is view * scale + shift.
        shift: float32 [3], by channel.
        patch: P, the side of a patch in pixels, 1 to S; pixels that do not fill a patch are dropped.
        dtype: of the result: float16, bfloat16, float32 or float64.

    Returns:
        [V*G*G, `index_plan.patch_columns`(P)] of `dtype`, G = S // P. A row's columns are in the order (y, x, channel),
        and zero after these.

    Raises:
        ValueError: a shape or dtype is another, or the tensors are on several devices.

    Example:
        >>> views = torch.full((2, 384, 384, 3), 255, dtype=torch.uint8)
        >>> scale, shift = torch.full((3,), 1 / 127.5), torch.full((3,), -1.0)
        >>> patchify(views, scale, shift, 14, torch.bfloat16).shape
        torch.Size([1458, 592])

    """
    shape = views.shape
    _require(views.dtype == torch.uint8 and views.dim() == 4 and shape[1] == shape[2] and shape[3] == 3,
             f"views must be uint8 [V, S, S, 3], not {_describe(views)}")  # fmt: skip
    _require(1 <= patch <= shape[1], f"a patch of {patch} does not fit views of {shape[1]}")
    for name, tensor in (("scale", scale), ("shift", shift)):
        _require(tensor.dtype == torch.float32 and tensor.shape == (3,),
                 f"{name} must be float32 [3], not {_describe(tensor)}")  # fmt: skip
    _require(dtype in FLOAT_DTYPES, f"rows cannot be {dtype}")
    _require_one_device(views, scale, shift)
    return _patchify(views.contiguous(), scale, shift, patch, dtype)


def pool_pack(features: Tensor, plan: Tensor, newline: Tensor | None = None) -> Tensor:
    """Pools each visual of a mixed batch its own way and joins the rows (`reference.pool_pack`).

    Args:
        features: float [V, G*G, C], row by row of each view's square grid of patches.
        plan: int32 [R, 4] of `index_plan.build`, on the device of the features.
        newline: [C] of the features' dtype, for the plan's newline rows; None for zeros.

    Returns:
        [R, C] of the features' dtype.

    Raises:
        ValueError: a shape or dtype is another, or the tensors are on several devices.

    Example:
        >>> packings = [Packing(), Packing("average", 2), Packing("bilinear", 2, newline="end")]
        >>> plan = index_plan.build(27, packings)
        >>> pool_pack(torch.randn(3, 729, 1024), plan).shape  # 27*27 + 13*13 + 14*14 + 1 rows
        torch.Size([1095, 1024])

    """
    _require(features.dim() == 3 and math.isqrt(features.shape[1]) ** 2 == features.shape[1] > 0,
             f"features must be [V, G*G, C], not {_describe(features)}")  # fmt: skip
    _require(features.dtype in FLOAT_DTYPES, f"features cannot be {features.dtype}")
    _require(plan.dtype == torch.int32 and plan.dim() == 2 and plan.shape[1] == 4,
             f"the plan must be int32 [R, 4], not {_describe(plan)}")  # fmt: skip
    if newline is not None:
        _require(newline.shape == features.shape[2:] and newline.dtype == features.dtype,
                 f"newline must be {features.dtype} [{features.shape[2]}], not {_describe(newline)}")  # fmt: skip
    _require_one_device(features, plan, *(() if newline is None else (newline,)))
    features = features if features.stride(2) == 1 else features.contiguous()
    return _pool_pack(features, plan.contiguous(), None if newline is None else newline.contiguous())


def merge_prefill(token_ids: Tensor, table: Tensor, rows: Tensor, row_index: Tensor) -> Tensor:
    """Builds the prefill's input embeddings: visual rows where there are any, text embeddings elsewhere.

    Token t of the result is rows[row_index[t]] if row_index[t] >= 0, else table[token_ids[t]]
    (`reference.merge_prefill`); the ids of visual tokens are not read.

    Args:
        token_ids: int32 or int64 [T].
        table: float [vocabulary, C], the text embeddings.
        rows: [R, C] of the table's dtype, the visuals' rows.
        row_index: int32 [T], as `index_plan.visual_row_indices` gives them; -1 for text.

    Returns:
        [T, C] of the table's dtype.

    Raises:
        ValueError: a shape or dtype is another, or the tensors are on several devices.

    Example:
        >>> row_index = index_plan.visual_row_indices(torch.tensor([False, True, True, False]))
        >>> table, rows = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[10.0], [11.0]])
        >>> merge_prefill(torch.tensor([2, 0, 0, 1]), table, rows, row_index)[:, 0]
        tensor([ 2., 10., 11.,  1.])

    """
    _require(token_ids.dim() == 1 and token_ids.dtype in (torch.int32, torch.int64),
             f"token ids must be int [T], not {_describe(token_ids)}")  # fmt: skip
    _require(table.dim() == 2 and table.dtype in FLOAT_DTYPES,
             f"the table must be float [vocabulary, C], not {_describe(table)}")  # fmt: skip
    _require(rows.dim() == 2 and rows.shape[1] == table.shape[1] and rows.dtype == table.dtype,
             f"rows must be {table.dtype} [R, {table.shape[1]}], not {_describe(rows)}")  # fmt: skip
    _require(row_index.dtype == torch.int32 and row_index.shape == token_ids.shape,
             f"row_index must be int32 [{len(token_ids)}], not {_describe(row_index)}")  # fmt: skip
    _require_one_device(token_ids, table, rows, row_index)
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    table = table if table.stride(1) == 1 else table.contiguous()
    return _merge_prefill(token_ids.contiguous(), table, rows, row_index.contiguous())


def _require(is_met: bool, message: str) -> None:
    if not is_met:
        raise ValueError(message)


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _require_one_device(*tensors: Tensor) -> None:
    devices = {tensor.device for tensor in tensors}
    _require(len(devices) == 1, f"tensors are on several devices: {', '.join(sorted(map(str, devices)))}")


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
    return views.new_empty(views.shape[0] * grid * grid, index_plan.patch_columns(patch), dtype=dtype)


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
def _merge_prefill(token_ids: Tensor, table: Tensor, rows: Tensor, row_index: Tensor) -> Tensor:
    return cpu.merge_prefill(token_ids, table, rows, row_index)


@_merge_prefill.register_kernel("cuda")
def _(token_ids: Tensor, table: Tensor, rows: Tensor, row_index: Tensor) -> Tensor:
    from llava_interleave_serve.kernels._triton import merge_prefill as kernel  # noqa: PLC0415

    return kernel.launch(token_ids, table, rows, row_index)


@_merge_prefill.register_fake
def _(token_ids: Tensor, table: Tensor, rows: Tensor, row_index: Tensor) -> Tensor:
    return table.new_empty(token_ids.shape[0], table.shape[1])
