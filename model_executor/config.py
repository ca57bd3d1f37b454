"""Checks of a checkpoint's configuration, and the sizes that follow from it."""

from collections.abc import Collection
from typing import Any

from transformers import PreTrainedConfig

from llava_interleave_serve.model_executor.original import fields
from llava_interleave_serve.model_executor.original.config import LlavaQwenConfig
from llava_interleave_serve.model_executor.visual import VisualFormat


def check(config: PreTrainedConfig, head_sizes: Collection[int] | None) -> None:
    """Refuses a configuration that this model cannot serve.

    config: a LlavaConfig, or one with its fields, as LlavaQwenConfig.
    head_sizes: the head sizes that this platform's attention has; None if it takes any.

    Raises ValueError saying what is wrong and what would work.
    """
    for field, expected in (("vision_config", "siglip_vision_model"), ("text_config", "qwen2")):
        part = getattr(config, field, None)
        model_type = getattr(part, "model_type", None)
        if model_type != expected:
            raise ValueError(
                f"{field}.model_type is {model_type!r}, but a LLaVA-NeXT-Interleave checkpoint has {expected!r}: "
                "serve other models with vLLM's own classes"
            )
    _check_tower(config)
    if isinstance(config, LlavaQwenConfig):
        fields.check(config)
    text: Any = config.text_config
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    if head_sizes is not None and head_size not in head_sizes:
        raise ValueError(
            f"the language model's attention heads have size {head_size}, but this platform's attention only has "
            f"{', '.join(map(str, sorted(head_sizes)))}: serve this checkpoint on a GPU"
        )
    if not 0 <= config.image_token_index < text.vocab_size:
        raise ValueError(
            f"image_token_index is {config.image_token_index}, outside the vocabulary of {text.vocab_size} tokens"
        )


def _check_tower(config: PreTrainedConfig) -> None:
    tower: Any = config.vision_config
    if config.vision_feature_select_strategy != "full":
        raise ValueError(
            f"vision_feature_select_strategy is {config.vision_feature_select_strategy!r}, but SigLIP has no class "
            "token to leave out: set it to 'full' in config.json"
        )
    layer = config.vision_feature_layer
    if not isinstance(layer, int) or not -tower.num_hidden_layers <= layer <= tower.num_hidden_layers:
        raise ValueError(
            f"vision_feature_layer is {layer!r}, but must be one layer of the tower's {tower.num_hidden_layers}, "
            "such as -1 for the last"
        )
    if tower.image_size < tower.patch_size:
        raise ValueError(
            f"vision_config.image_size {tower.image_size} is smaller than its patch_size {tower.patch_size}"
        )


def tower_depth(config: PreTrainedConfig) -> int:
    """The number of the tower's layers that are run; the features are the output of the last of these.

    `vision_feature_layer` indexes the hidden states: 0 is the embeddings, -1 the output of the last layer.
    """
    layer: int = config.vision_feature_layer
    return layer if layer >= 0 else config.vision_config.num_hidden_layers + 1 + layer


def grid(config: PreTrainedConfig) -> int:
    """The side of the tower's square grid of patches; pixels that do not fill a patch are dropped (384 // 14 = 27)."""
    side: int = config.vision_config.image_size // config.vision_config.patch_size
    return side


def visual_format(config: PreTrainedConfig) -> VisualFormat:
    """How the checkpoint reads pictures and videos; the hub's ports read everything as one view without newlines.

    Raises ValueError for a configuration that is not served, naming the field.
    """
    return config.visual_format if isinstance(config, LlavaQwenConfig) else VisualFormat()


def is_generated(config: PreTrainedConfig) -> bool:
    """True if the placeholder's token has a row in the checkpoint, by which it could be generated."""
    return not isinstance(config, LlavaQwenConfig) or config.placeholder_has_text
