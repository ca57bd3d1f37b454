"""The hub's spellings are mapped to our names. (test_parity.py loads whole checkpoints.)"""

import pytest

from llava_interleave_serve.model_executor import weight_names

OURS = {
    "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight": (
        "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
        "model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
        "vision_tower.encoder.layers.0.mlp.fc1.weight",
        "model.vision_tower.encoder.layers.0.mlp.fc1.weight",
        "model.vision_tower.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
    ),
    "multi_modal_projector.linear_1.bias": (
        "multi_modal_projector.linear_1.bias",
        "model.multi_modal_projector.linear_1.bias",
        "model.mm_projector.0.bias",
    ),
    "multi_modal_projector.linear_2.weight": ("multi_modal_projector.linear_2.weight", "model.mm_projector.2.weight"),
    "language_model.model.embed_tokens.weight": (
        "language_model.model.embed_tokens.weight",
        "model.language_model.embed_tokens.weight",
        "model.embed_tokens.weight",
    ),
    "language_model.model.layers.3.mlp.up_proj.weight": (
        "model.language_model.layers.3.mlp.up_proj.weight",
        "model.layers.3.mlp.up_proj.weight",
    ),
    "language_model.model.norm.weight": ("model.norm.weight",),
    "image_newline": ("image_newline", "model.image_newline"),
    "language_model.lm_head.weight": ("language_model.lm_head.weight", "lm_head.weight"),
    # As quantisation configurations name whole modules.
    "vision_tower.vision_model": ("vision_tower", "model.vision_tower", "vision_tower.vision_model"),
    "vision_tower.vision_model*": ("vision_tower*", "model.vision_tower*"),
    "multi_modal_projector": ("multi_modal_projector", "model.multi_modal_projector"),
    "language_model.model": ("language_model.model", "model.language_model"),
    "language_model.lm_head": ("lm_head",),
}


@pytest.mark.parametrize(("ours", "spelling"), [(ours, name) for ours, names in OURS.items() for name in names])
def test_every_spelling_of_a_weight_is_mapped_to_the_same_name(ours: str, spelling: str) -> None:
    assert weight_names.MAPPER.map_name(spelling) == ours
