"""Small random checkpoints in the hub's format, with each of its spellings of the weights' names."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration, SiglipVisionConfig

from llava_interleave_serve.demo import architecture, tokenizer
from llava_interleave_serve.demo.training import export

DEMO = Path(export.__file__).resolve().parent.parent / "checkpoint"
CONFIG = json.loads((DEMO / "config.json").read_text())
# Of the demo: the side of a view in pixels and in patches, and the patches of a view, whole and pooled by 2x2.
IMAGE_SIZE = CONFIG["vision_config"]["image_size"]
GRID = IMAGE_SIZE // CONFIG["vision_config"]["patch_size"]
PATCHES, PATCHES_BY_2 = GRID**2, ((GRID + 1) // 2) ** 2
# Substitutions that make the hub's older and newer spellings from the names that this transformers saves.
SPELLINGS: dict[str, list[tuple[str, str]]] = {
    "before 4.52": [(r"^vision_tower\.", "vision_tower.vision_model.")],
    "after 4.52": [
        (r"^vision_tower\.", "model.vision_tower.vision_model."),
        (r"^multi_modal_projector\.", "model.multi_modal_projector."),
        (r"^language_model\.model\.", "model.language_model."),
        (r"^language_model\.lm_head\.", "lm_head."),
    ],
    "as saved": [],
}
Edit = Callable[[dict[str, torch.Tensor]], None]


def write(
    folder: Path,
    *,
    seed: int = 0,
    spelling: str = "as saved",
    head_size: int = 32,
    image_size: int = IMAGE_SIZE,
    edit: Edit | None = None,
) -> Path:
    """Writes a checkpoint of about the demo's sizes with random weights, whose post_layernorm is far from the identity.

    spelling: a key of SPELLINGS. edit: changes the tensors before they are saved.
    """
    torch.manual_seed(seed)
    tokeniser = tokenizer.load_or_train(DEMO)
    image, end = (tokeniser.convert_tokens_to_ids(token) for token in ("<image>", "<|im_end|>"))
    config = architecture.config(len(tokeniser), image, end, tokeniser.pad_token_id)
    config.vision_config = tower(image_size)
    config.text_config.head_dim = head_size
    config.text_config.num_attention_heads = 192 // head_size
    config.text_config.num_key_value_heads = 192 // head_size // 2
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0)  # far enough from zero that every part of the model matters
        norm = model.model.vision_tower.post_layernorm
        norm.weight.uniform_(-4.0, 4.0)
        norm.bias.uniform_(-4.0, 4.0)
    export.write(model, tokeniser, folder)
    tensors = {
        _rename(name, spelling): tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()
    }
    if edit is not None:
        edit(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def tower(image_size: int) -> SiglipVisionConfig:
    """A tower with patches of 16x16 pixels."""
    return SiglipVisionConfig(
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        image_size=image_size,
        patch_size=16,
        vision_use_head=False,
    )


def _rename(name: str, spelling: str) -> str:
    for pattern, replacement in SPELLINGS[spelling]:
        name = re.sub(pattern, replacement, name)
    return name


def copy_of_demo(folder: Path, **config: object) -> Path:
    """Copies the demo checkpoint, and sets fields of its config.json."""
    shutil.copytree(DEMO, folder, dirs_exist_ok=True)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return folder
