"""Weights of the authors' own checkpoints: their files, the vocabulary, and the sizes that no configuration states."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

PICKLED = ("pt", "npcache")  # load formats of vLLM's
FALLING_BACK = ("auto", "hf")  # those that read pickled weights where there are no others
VOCABULARY = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")


def require_safetensors(load_config: Any) -> None:
    """Has vLLM's loader look for safetensors alone: other files of weights are programs, which run when they are read.

    Raises ValueError for a load format that reads such files.
    """
    if load_config.load_format in PICKLED:
        raise ValueError(
            f"load_format is {load_config.load_format!r}, but the authors' checkpoints are read from safetensors only"
        )
    if load_config.load_format in FALLING_BACK:
        load_config.load_format = "safetensors"


def fit(weights: Iterable[tuple[str, torch.Tensor]], config: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Cuts embedding and head to the model's vocabulary, as the authors' builder cuts them to the tokenizer's.

    Rows that the checkpoint lacks are zeros; the authors' are random there.

    weights: our names with their tensors. config: a LlavaQwenConfig.

    Raises ValueError for a tower or projector of other sizes than the configuration's.
    """
    expected = _expected(config)
    rows = config.text_config.vocab_size
    for name, tensor in weights:
        wanted = expected.get(name)
        if wanted is not None and tuple(tensor.shape) != wanted:
            raise ValueError(
                f"{name} is {list(tensor.shape)}, but {list(wanted)} by the vision tower's configuration: "
                f"mm_vision_tower is {getattr(config, 'mm_vision_tower', None)!r}"
            )
        if name in VOCABULARY and len(tensor) != rows:
            whole = tensor.new_zeros(rows, *tensor.shape[1:])
            whole[: len(tensor)] = tensor[:rows]
            yield name, whole
            continue
        yield name, tensor


def _expected(config: Any) -> dict[str, tuple[int, ...]]:
    """Shapes that follow from the tower's sizes, by our names."""
    tower, width = config.vision_config, config.vision_config.hidden_size
    patch, grid = tower.patch_size, tower.image_size // tower.patch_size
    embeddings = "vision_tower.vision_model.embeddings"
    return {
        f"{embeddings}.patch_embedding.weight": (width, tower.num_channels, patch, patch),
        f"{embeddings}.position_embedding.weight": (grid**2, width),
        "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight": (tower.intermediate_size, width),
        "multi_modal_projector.linear_1.weight": (config.text_config.hidden_size, width),
    }
