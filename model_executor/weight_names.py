"""From the names in a checkpoint's files to our modules' names."""

import re
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from llava_interleave_serve.model_executor.vllm_compat import AutoWeightsLoader, WeightsMapper

# Both spellings of the hub's ports, from before and after transformers 4.52, and that of 5.x, whose SigLIP tower has no
# inner `vision_model`.
MAPPER = WeightsMapper(
    orig_to_new_regex={
        re.compile(r"^(model\.)?vision_tower\.(vision_model\.)?"): "vision_tower.vision_model.",
        re.compile(r"^model\.multi_modal_projector\."): "multi_modal_projector.",
        re.compile(r"^model\.language_model\."): "language_model.model.",
        re.compile(r"^lm_head\."): "language_model.lm_head.",
    }
)

# What a checkpoint may hold and the model does not use: SigLIP's features are taken before post_layernorm, its pooling
# head is left out, and rotary frequencies are computed.
UNUSED = ("vision_model.post_layernorm.", "vision_model.head.", "rotary_emb.inv_freq", "position_ids")


def load(
    model: nn.Module, weights: Iterable[tuple[str, torch.Tensor]], *, tower_layers: int, tied: bool, quantised: bool
) -> set[str]:
    """Loads a checkpoint's weights, under any of the hub's spellings, and returns our names of those that were.

    tower_layers: how many layers of the tower the model has; the file's further ones are left out. tied: the output
    layer is the embedding, and a copy of it in the file is left out. quantised: parameters may come from elsewhere than
    the file, and which are missing is vLLM's to know.

    Raises ValueError naming a weight that has no place in the model, or one that the file lacks.
    """

    def used() -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in MAPPER.apply(weights):
            if any(part in name for part in UNUSED) or (tied and name.startswith("language_model.lm_head.")):
                continue
            _, found, after = name.partition("vision_model.encoder.layers.")
            if found and int(after.split(".")[0]) >= tower_layers:
                continue
            yield name, tensor

    loaded = AutoWeightsLoader(model).load_weights(used())
    missing = {name for name, _ in model.named_parameters()} - loaded
    if missing and not quantised:
        raise ValueError(f"the checkpoint lacks the weights {', '.join(sorted(missing))}")
    return loaded
