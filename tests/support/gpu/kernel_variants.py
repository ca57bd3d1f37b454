"""Prints the variants of kernels that a model launches while it is made, and later: a process that interprets none.

`python -m tests.support.gpu.kernel_variants [original]`: of the demo; or of a checkpoint as the authors' own, with a
newline, pooling before the projector and a tower of another width. Kernels are launched as on a GPU, recorded, and not
run: what they return is not read.
"""

import json
import sys

import pytest
import torch
from vllm.config import set_current_vllm_config
from vllm.utils.torch_utils import set_default_torch_dtype

from llava_interleave_serve.benchmarks.kernels.recorded_launches import record
from llava_interleave_serve.kernels import cpu
from llava_interleave_serve.kernels._triton import merge_prefill, patchify, pool_pack
from llava_interleave_serve.model_executor import config as checkpoint
from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from llava_interleave_serve.model_executor.visual import POOLING_STRIDES, UNPOOLED, Pooling, VisualFormat
from tests.support import encoder_half
from tests.support.checkpoints import IMAGE_SIZE
from tests.support.fakes import platform
from tests.support.vllm_scheduler import demo_config

POOLINGS = [UNPOOLED, *(Pooling(mode, stride) for mode in ("average", "max", "bilinear") for stride in POOLING_STRIDES)]
BEFORE = [Pooling("average", 2, before_projector=True), Pooling("max", 2, before_projector=True)]


def main() -> None:
    is_original = sys.argv[1:] == ["original"]
    poolings = POOLINGS + BEFORE * is_original
    config = demo_config()
    config.model_config.hf_config.vision_config.num_hidden_layers = 1  # the others launch nothing of ours
    with pytest.MonkeyPatch.context() as patch, encoder_half.one_rank(), record("90") as launches:
        platform.take_for_a_gpu(patch)
        for module, name in ((patchify, "patchify"), (pool_pack, "pool_pack"), (merge_prefill, "merge_prefill")):
            patch.setattr(cpu, name, module.launch)
        if is_original:
            visual_format = VisualFormat(has_newline=True, video_pooling=BEFORE[0])
            config.model_config.hf_config.vision_config.hidden_size //= 2
            patch.setattr(checkpoint, "visual_format", lambda _: visual_format)
        with set_default_torch_dtype(torch.bfloat16), set_current_vllm_config(config):
            model = LlavaInterleaveForConditionalGeneration(vllm_config=config)
        at_load = {launch.key: launch.kernel for launch in launches}
        launches.clear()
        with torch.inference_mode():
            for visuals in range(1, 17):
                for pooling in poolings:
                    embed(model, [pooling] * visuals)
                embed(model, (poolings * 2)[:visuals])
    print(json.dumps({"at load": at_load, "later": {launch.key: launch.kernel for launch in launches}}))


def embed(model: LlavaInterleaveForConditionalGeneration, poolings: list[Pooling]) -> None:
    """Encodes visuals and merges them into a prefill whose first token is text; the first visual is cut in two."""
    encoded = encoder_half.packings(poolings)
    views = torch.zeros(len(poolings), 1, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8)
    rows = model.embed_multimodal(views=views, packings=encoded)
    rows[0] = rows[0][len(rows[0]) // 2 :]
    is_visual = torch.arange(1 + sum(map(len, rows))) > 0
    for dtype in (torch.int32, torch.int64):
        model.embed_input_ids(torch.zeros(len(is_visual), dtype=dtype), rows, is_multimodal=is_visual)


if __name__ == "__main__":
    main()
