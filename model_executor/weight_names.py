"""Names of weights: maps those of a checkpoint's files to those of our modules, and loads the weights."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

from llava_interleave_serve.model_executor.original import weights as original_weights
from llava_interleave_serve.model_executor.original.config import LlavaQwenConfig
from llava_interleave_serve.model_executor.vllm_compat import AutoWeightsLoader, WeightsMapper

# The spellings of the hub's checkpoints from before and after transformers 4.52, and those of 5.x, whose SigLIP tower
# has no inner `vision_model`; and the authors' own. Lists of layers that are not quantised name whole modules too, with
# no dot at their ends.
MAPPER = WeightsMapper(
    orig_to_new_regex={
        re.compile(r"^(model\.)?vision_tower\b(\.vision_tower\b)?(\.vision_model\b)?"): "vision_tower.vision_model",
        re.compile(r"^model\.mm_projector\.0\b"): "multi_modal_projector.linear_1",
        re.compile(r"^model\.mm_projector\.2\b"): "multi_modal_projector.linear_2",
        re.compile(r"^model\.image_newline\b"): "image_newline",
        re.compile(r"^model\.(?=(embed_tokens|layers|norm)\b)"): "language_model.model.",
        re.compile(r"^model\.multi_modal_projector\b"): "multi_modal_projector",
        re.compile(r"^model\.language_model\b"): "language_model.model",
        re.compile(r"^lm_head\b"): "language_model.lm_head",
    }
)

# Parts of names that a checkpoint may hold and the model does not use: SigLIP's features are taken before
# post_layernorm, its pooling head is left out, and rotary frequencies are computed.
UNUSED = ("vision_model.post_layernorm.", "vision_model.head.", "rotary_emb.inv_freq", "position_ids")
NEWLINE = "image_newline"
TOWER_LAYERS = "vision_model.encoder.layers."


def choose_files(load_config: Any, config: PreTrainedConfig) -> None:
    """Has vLLM read an original checkpoint's weights from safetensors alone; raises ValueError for another format.

    load_config: vLLM's, which its loader reads after the model is made. config: of the checkpoint.
    """
    if isinstance(config, LlavaQwenConfig):
        original_weights.require_safetensors(load_config)


def load(
    model: nn.Module,
    weights: Iterable[tuple[str, torch.Tensor]],
    *,
    config: PreTrainedConfig,
    tower_layers: int,
    tied: bool,
    quantised: bool,
) -> set[str]:
    """Loads a checkpoint's weights, in any of the hub's spellings, and returns our names of the loaded ones.

    weights: names as in the files, with their tensors. config: of the checkpoint. tower_layers: the number of the
    model's tower layers; later ones in the files are skipped. tied: the output layer is the embedding, and a copy of it
    in the files is skipped. quantised: parameters may be created while loading, so missing ones are left for vLLM to
    find.

    Raises ValueError naming a weight that the model does not have, or one that the checkpoint lacks.
    """

    def is_used(name: str) -> bool:
        if any(part in name for part in UNUSED) or (tied and name.startswith("language_model.lm_head.")):
            return False
        if name == NEWLINE and getattr(model, NEWLINE, None) is None:
            return False  # of a checkpoint whose configuration does not read it
        _, is_layer, rest = name.partition(TOWER_LAYERS)
        return not is_layer or int(rest.split(".")[0]) < tower_layers

    def used() -> Iterator[tuple[str, torch.Tensor]]:
        named = ((name, tensor) for name, tensor in MAPPER.apply(weights) if is_used(name))
        return original_weights.fit(named, config) if isinstance(config, LlavaQwenConfig) else named

    loaded = AutoWeightsLoader(model).load_weights(used())
    missing = {name for name, _ in model.named_parameters()} - loaded
    if missing and not quantised:
        raise ValueError(f"the checkpoint lacks the weights {', '.join(sorted(missing))}")
    return loaded
