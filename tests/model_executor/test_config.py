"""Configurations are served, or refused with a reason."""

from typing import Any

import pytest
from transformers import LlavaConfig, Qwen2Config, SiglipVisionConfig

from llava_interleave_serve.model_executor import config as checkpoint


def config(**changes: Any) -> LlavaConfig:
    """The configuration of llava-interleave-qwen-0.5b-hf, changed."""
    tower = SiglipVisionConfig(
        hidden_size=1152, image_size=384, patch_size=14, num_hidden_layers=26, num_attention_heads=16
    )
    text = Qwen2Config(hidden_size=1024, num_attention_heads=16, vocab_size=152000)
    result = LlavaConfig(
        vision_config=tower, text_config=text, image_token_index=151646, vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )  # fmt: skip
    for name, value in changes.items():
        part, _, field = name.rpartition("__")
        setattr(getattr(result, part) if part else result, field, value)
    return result


def test_the_published_configuration_is_served() -> None:
    checkpoint.check(config(), [32, 64, 128])
    assert checkpoint.grid(config()) == 27


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"text_config__num_attention_heads": 64}, "heads have size 16, but this platform's attention only has 32, 64"),
        ({"vision_feature_select_strategy": "default"}, "set it to 'full'"),
        ({"vision_feature_layer": [-2, -1]}, "must be one layer"),
        ({"vision_feature_layer": -40}, "must be one layer"),
        ({"image_token_index": 152000}, "outside the vocabulary of 152000"),
        ({"vision_config__patch_size": 500}, "smaller than its patch_size"),
        ({"vision_config__model_type": "clip_vision_model"}, "vision_config.model_type is 'clip_vision_model'"),
        ({"text_config__model_type": "llama"}, "text_config.model_type is 'llama'"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_with_a_reason(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        checkpoint.check(config(**changes), [32, 64, 128])


def test_any_head_size_is_accepted_if_the_platform_names_none() -> None:
    checkpoint.check(config(text_config__num_attention_heads=64), None)


@pytest.mark.parametrize(
    ("layers", "layer", "depth"), [(26, -1, 26), (27, -2, 26), (26, 26, 26), (26, 3, 3), (4, -4, 1)]
)
def test_the_vision_tower_ends_at_the_feature_layer(layers: int, layer: int, depth: int) -> None:
    assert checkpoint.tower_depth(config(vision_config__num_hidden_layers=layers, vision_feature_layer=layer)) == depth
