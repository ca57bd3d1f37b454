"""Dimensions of the published models, and the configuration files that state them."""

from dataclasses import dataclass
from typing import Any

from llava_interleave_serve.demo.tokenizer import SPECIAL_TOKENS


@dataclass(frozen=True)
class Size:
    """Dimensions of the language model and the vision tower.

    The defaults are those that all published checkpoints share.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    tied: bool
    """True if the input and the output embeddings are one matrix."""
    max_window_layers: int
    vocabulary: int = 152_000
    """Rows of the embeddings; more than there are tokens."""
    tokens: int = 151_643
    """Tokens before the special ones."""
    context: int = 32_768
    """Tokens."""
    image: int = 384
    """Side of an image, pixels."""
    patch: int = 14
    """Side of a patch, pixels."""
    tower_hidden: int = 1152
    tower_intermediate: int = 4304
    tower_layers: int = 26
    tower_heads: int = 16

    @property
    def image_token(self) -> int:
        """The id of <image>."""
        return self.tokens + SPECIAL_TOKENS.index("<image>")

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return (self.image // self.patch) ** 2


SEVEN = Size(hidden=4096, intermediate=11_008, layers=32, heads=32, tied=False, max_window_layers=28)
SIZES = {
    "0.5b": Size(hidden=1024, intermediate=2816, layers=24, heads=16, tied=True, max_window_layers=21),
    "7b": SEVEN,
    "7b-dpo": SEVEN,
    # Not published: starts in seconds on a CPU.
    "tiny": Size(
        hidden=128,
        intermediate=192,
        layers=3,
        heads=2,
        tied=True,
        max_window_layers=3,
        vocabulary=4096,
        tokens=4000,
        image=76,
        tower_hidden=144,
        tower_intermediate=192,
        tower_layers=3,
        tower_heads=2,
    ),
}


def config(size: Size) -> dict[str, Any]:
    """The content of a checkpoint's config.json."""
    text = {
        "model_type": "qwen2",
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "max_position_embeddings": size.context,
        "max_window_layers": size.max_window_layers,
        "use_sliding_window": False,
        "rope_theta": 1_000_000.0,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": size.tied,
        "bos_token_id": size.tokens,
        "eos_token_id": size.tokens + 2,
        "torch_dtype": "bfloat16",
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": size.tower_hidden,
        "intermediate_size": size.tower_intermediate,
        "num_hidden_layers": size.tower_layers,
        "num_attention_heads": size.tower_heads,
        "image_size": size.image,
        "patch_size": size.patch,
        "layer_norm_eps": 1e-06,
        "vision_use_head": False,
        "torch_dtype": "bfloat16",
    }
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": size.image_token,
        "image_seq_length": size.patches,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "tie_word_embeddings": size.tied,
        "torch_dtype": "bfloat16",
        "text_config": text,
        "vision_config": vision,
    }
