"""Configuration of the authors' own checkpoints (`LlavaQwenForCausalLM`), whose config.json is flat."""

from typing import Any, Self

from transformers import LlavaConfig, PreTrainedConfig, Qwen2Config, SiglipVisionConfig

from llava_interleave_serve.model_executor.original import fields, tokens
from llava_interleave_serve.model_executor.visual import VisualFormat

ARCHITECTURE = "LlavaQwenForCausalLM"
# The towers that a config.json names only, without their sizes; the last of their layers is deleted. The head size and
# the image size are in no weight. Source: the tower's own config.json.
TOWERS: dict[str, dict[str, Any]] = {
    "siglip-so400m-patch14-384": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "num_channels": 3,
        "image_size": 384,
        "patch_size": 14,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
    },
}
# Fields of Qwen2's configuration that are no fields of transformers' class, which reads them all the same.
ROPE_FIELDS = ("rope_theta", "rope_scaling")


class LlavaQwenConfig(PreTrainedConfig):
    """The authors' configuration with the fields of the hub's LlavaConfig, by which the model is made.

    Attributes:
        text_config: Qwen2, of the flat fields; its vocabulary is that of the tokenizer (`tokens.read`), to which the
            authors' builder cuts the embedding, and one row for the placeholder where the tokenizer has none.
        vision_config: SigLIP, of the tower's name, or the field of this name; its layers count the one that the authors
            delete.
        image_token_index: the placeholder's token; of the tokenizer's `<image>`, or the row behind the tokenizer's.
        placeholder_has_text: True if the tokenizer has `<image>`; else the placeholder is never generated.

    Fields of the authors' that are not named here are attributes, as they are.

    """

    model_type = "llava_qwen"
    sub_configs = {"text_config": Qwen2Config, "vision_config": SiglipVisionConfig}
    attribute_map = {"image_token_id": "image_token_index"}
    has_no_defaults_at_init = True  # a tower must be named

    text_config: Any = None
    vision_config: Any = None
    image_token_index: int | None = None
    placeholder_has_text: bool = False
    vision_feature_layer: int = -2
    vision_feature_select_strategy: str = "full"
    projector_hidden_act: str = "gelu"
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        text_fields = {*Qwen2Config.__dataclass_fields__, *ROPE_FIELDS, "head_dim"} - {"tie_word_embeddings"}
        # The fields of any configuration, as bos_token_id, are kept on the whole one too.
        common = set(PreTrainedConfig.__dataclass_fields__)
        flat = {name: value for name, value in kwargs.items() if name in text_fields}
        rest = {name: value for name, value in kwargs.items() if name not in text_fields or name in common}
        if not isinstance(self.text_config, PreTrainedConfig):
            text = {**flat, "tie_word_embeddings": self.tie_word_embeddings, **(self.text_config or {})}
            self.text_config = Qwen2Config(**{name: value for name, value in text.items() if name != "model_type"})
            self.tie_word_embeddings = self.text_config.tie_word_embeddings
        if not isinstance(self.vision_config, PreTrainedConfig):
            sizes = self.vision_config or _tower(kwargs.get("mm_vision_tower"))
            self.vision_config = SiglipVisionConfig(**sizes)
        if self.image_token_index is None:
            self._take_vocabulary(kwargs.get("name_or_path"))
        super().__post_init__(**rest)

    @property
    def visual_format(self) -> VisualFormat:
        """How the checkpoint reads pictures and videos. Raises ValueError naming a field that is not served."""
        return fields.visual_format(self)

    def _take_vocabulary(self, folder: str | None) -> None:
        """Sets the vocabulary and the placeholder by the tokenizer of the folder."""
        vocabulary = tokens.read(folder)
        text: Any = self.text_config
        if vocabulary is not None:
            text.vocab_size = vocabulary.size
            self.image_token_index = vocabulary.placeholder
        self.placeholder_has_text = self.image_token_index is not None
        if self.image_token_index is None:
            self.image_token_index = text.vocab_size
            text.vocab_size += 1


class AnyLlavaConfig(LlavaConfig):
    """Reads model_type `llava`, which some originals and all of the hub's ports have; the architecture tells them."""

    model_type = "llava"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Self:
        reader: Any = LlavaQwenConfig if ARCHITECTURE in (config_dict.get("architectures") or ()) else LlavaConfig
        config: Self = reader.from_dict(config_dict, **kwargs)
        return config


def _tower(name: Any) -> dict[str, Any]:
    """The sizes of the tower of that name, a name on the hub or a path. Raises ValueError for another tower."""
    sizes = TOWERS.get(str(name).rstrip("/").rsplit("/", 1)[-1])
    if sizes is None:
        raise ValueError(f"mm_vision_tower is {name!r}, but only {', '.join(TOWERS)} is known: give its vision_config")
    return sizes
