"""The authors' flat config.json becomes a configuration with the parts by which the model is made."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, LlavaConfig

from llava_interleave_serve.model_executor import config as checkpoint
from llava_interleave_serve.model_executor import plugin
from llava_interleave_serve.model_executor.original import tokens
from llava_interleave_serve.model_executor.original.config import LlavaQwenConfig
from tests.support import checkpoints
from tests.support.original import cases

ANYRES = cases.FOLDER / "checkpoint-anyres"


@pytest.fixture(autouse=True)
def registered() -> None:
    plugin.register()


def copy(folder: Path, **changes: Any) -> Path:
    """Copies the anyres checkpoint without its weights; changes: of fields of its config.json, None to remove one."""
    shutil.copytree(ANYRES, folder, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text()) | changes
    config = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_original_configuration_is_found_by_its_model_type() -> None:
    config = AutoConfig.from_pretrained(ANYRES)
    assert isinstance(config, LlavaQwenConfig)
    text, tower = config.text_config, config.vision_config
    assert (text.hidden_size, text.num_hidden_layers, text.rope_parameters["rope_theta"]) == (128, 3, 1e6)
    assert (text.eos_token_id, text.tie_word_embeddings, config.tie_word_embeddings) == (390, True, True)
    assert (tower.hidden_size, tower.image_size, tower.num_hidden_layers) == (144, 76, 4)
    assert checkpoint.tower_depth(config) == 3
    checkpoint.check(config, None)


def test_a_named_tower_has_the_sizes_of_its_name(tmp_path: Path) -> None:
    changes = {"vision_config": None, "mm_hidden_size": 1152}
    for name in ("google/siglip-so400m-patch14-384", "/models/siglip-so400m-patch14-384/"):
        config = AutoConfig.from_pretrained(copy(tmp_path, mm_vision_tower=name, **changes))
        tower = config.vision_config
        assert (tower.hidden_size, tower.intermediate_size, tower.num_attention_heads) == (1152, 4304, 16)
        assert (tower.image_size, tower.patch_size, tower.hidden_act) == (384, 14, "gelu_pytorch_tanh")
        assert checkpoint.tower_depth(config) == 26


def test_an_unknown_tower_is_refused_by_name(tmp_path: Path) -> None:
    folder = copy(tmp_path, vision_config=None, mm_vision_tower="openai/clip-vit-large-patch14-336")
    with pytest.raises(ValueError, match="mm_vision_tower is 'openai/clip-vit-large-patch14-336'"):
        AutoConfig.from_pretrained(folder)


def test_the_vocabulary_is_that_of_the_tokenizer_and_a_row_for_the_placeholder() -> None:
    config = AutoConfig.from_pretrained(ANYRES)
    assert (config.text_config.vocab_size, config.image_token_index) == (392, 391)
    assert not checkpoint.is_generated(config)


@pytest.mark.parametrize(
    "missing", [["tokenizer.json"], ["vocab.json"], ["tokenizer.json", "added_tokens.json"]], ids=" ".join
)
def test_tokens_are_counted_in_each_form_of_the_tokenizer(missing: list[str], tmp_path: Path) -> None:
    folder = copy(tmp_path)
    for name in missing:
        (folder / name).unlink()
    assert tokens.read(str(folder)) == tokens.Vocabulary(391, None)


def test_a_tokenizer_with_a_placeholder_keeps_it(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    added = json.loads((folder / "added_tokens.json").read_text()) | {"<image>": 391}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    config = AutoConfig.from_pretrained(folder)
    assert (config.text_config.vocab_size, config.image_token_index) == (392, 391)
    assert checkpoint.is_generated(config)


def test_without_a_tokenizer_the_vocabulary_is_the_configurations(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    for name in ("tokenizer.json", "vocab.json"):
        (folder / name).unlink()
    config = AutoConfig.from_pretrained(folder)
    assert (config.text_config.vocab_size, config.image_token_index) == (449, 448)


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not JSON"):
        AutoConfig.from_pretrained(folder)


def test_the_configuration_survives_a_process_and_a_dictionary() -> None:
    config = AutoConfig.from_pretrained(ANYRES)
    assert pickle.loads(pickle.dumps(config)).to_dict() == config.to_dict()
    again = LlavaQwenConfig.from_dict(config.to_dict())
    assert again.to_dict() == config.to_dict()
    assert again.text_config.vocab_size == 392


def test_model_type_llava_is_told_by_the_architecture(tmp_path: Path) -> None:
    assert isinstance(AutoConfig.from_pretrained(copy(tmp_path, model_type="llava")), LlavaQwenConfig)
    port = AutoConfig.from_pretrained(checkpoints.DEMO)
    assert type(port) is LlavaConfig
    alone = LlavaConfig.from_pretrained(checkpoints.DEMO)
    assert port.to_dict() == alone.to_dict() | {"_name_or_path": str(checkpoints.DEMO)}
