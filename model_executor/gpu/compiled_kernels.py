"""Compiles the kernels while the model is loaded, so that no request waits for a compiler."""

import torch
from transformers import PreTrainedConfig

from llava_interleave_serve.kernels import index_plan, ops
from llava_interleave_serve.model_executor import config as checkpoint


def compile_kernels(config: PreTrainedConfig, workers: int) -> None:
    """Launches each kernel once as this model will, on torch's default device and in its default dtype.

    vLLM's own warm-up reaches none of the kernels, and with `--jit-monitor-mode error` a step that compiles fails. A
    variant is compiled for each dtype and width, whatever the number of visuals and tokens.

    config: of the checkpoint. workers: tensor parallel ranks, which share the projector's width.
    """
    vision, width = config.vision_config, config.text_config.hidden_size
    views = torch.zeros(1, vision.image_size, vision.image_size, 3, dtype=torch.uint8)
    ones = torch.ones(3, dtype=torch.float32)
    ops.patchify(views, ones, ones, vision.patch_size, torch.get_default_dtype())
    grid, visual_format = checkpoint.grid(config), checkpoint.visual_format(config)
    plan = index_plan.build(grid, [index_plan.UNPOOLED]).to(views.device)
    widths = {width, width // workers}  # max pooling comes after the projector's last layer, most others before it
    if visual_format.video_pooling is not None and visual_format.video_pooling.before_projector:
        widths.add(vision.hidden_size)
    for channels in widths:
        ops.pool_pack(torch.zeros(1, grid**2, channels), plan)
    if visual_format.has_newline:  # which max pooling reads
        ops.pool_pack(torch.zeros(1, grid**2, width), plan, torch.zeros(width))
    rows, row_index = torch.zeros(1, width), torch.full((1,), -1, dtype=torch.int32)
    for dtype in (torch.int32, torch.int64):
        ops.merge_prefill(torch.zeros(1, dtype=dtype), rows, rows, row_index)
