"""The vocabulary of the authors' weights is cut or padded, and the tower's sizes are held to them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, LlavaConfig
from vllm.config.load import LoadConfig
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

from llava_interleave_serve.model_executor import plugin, weight_names
from llava_interleave_serve.model_executor.original import weights
from llava_interleave_serve.model_executor.original.config import LlavaQwenConfig
from tests.support.original import cases

EMBEDDING, HEAD = "language_model.model.embed_tokens.weight", "language_model.lm_head.weight"
TOWER = "vision_tower.vision_model"


@pytest.fixture
def config() -> LlavaQwenConfig:
    plugin.register()
    config: LlavaQwenConfig = AutoConfig.from_pretrained(cases.FOLDER / "checkpoint-anyres")
    return config


@pytest.mark.parametrize("name", [EMBEDDING, HEAD])
@pytest.mark.parametrize("rows", [448, 392, 300])
def test_embedding_and_head_are_cut_or_padded_to_the_vocabulary(name: str, rows: int, config: LlavaQwenConfig) -> None:
    table = torch.randn(rows, 128)
    ((_, fitted),) = weights.fit([(name, table)], config)
    assert fitted.shape == (392, 128)
    assert fitted[:rows].equal(table[:392])
    assert (fitted[rows:] == 0).all()


def test_other_weights_are_as_they_are(config: LlavaQwenConfig) -> None:
    named = [
        ("language_model.model.norm.weight", torch.randn(128)),
        (f"{TOWER}.encoder.layers.1.mlp.fc1.bias", torch.randn(9)),
    ]
    assert list(weights.fit(named, config)) == named


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        (f"{TOWER}.embeddings.patch_embedding.weight", (144, 3, 16, 16), r"\[144, 3, 16, 16\], but \[144, 3, 14, 14\]"),
        (f"{TOWER}.embeddings.position_embedding.weight", (36, 144), r"\[36, 144\], but \[25, 144\]"),
        (f"{TOWER}.encoder.layers.0.mlp.fc1.weight", (256, 144), r"\[256, 144\], but \[192, 144\]"),
        ("multi_modal_projector.linear_1.weight", (128, 1152), r"\[128, 1152\], but \[128, 144\]"),
    ],
)
def test_a_tower_of_other_sizes_is_refused(
    name: str, shape: tuple[int, ...], sentence: str, config: LlavaQwenConfig
) -> None:
    with pytest.raises(ValueError, match=rf"{name} is {sentence} by the vision tower's .*siglip-so400m-patch14-384"):
        list(weights.fit([(name, torch.zeros(shape))], config))


class Tree(torch.nn.Module):
    """Parameters by their names, as a model that is loaded has them."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            *folders, leaf = name.split(".")
            place: torch.nn.Module = self
            for folder in folders:
                if not hasattr(place, folder):
                    place.add_module(folder, torch.nn.Module())
                place = getattr(place, folder)
            place.register_parameter(leaf, torch.nn.Parameter(torch.zeros(shape)))


PREFIX = "model.vision_tower.vision_tower.vision_model"


def loaded(config: LlavaQwenConfig, tensors: dict[str, torch.Tensor], *, newline: bool = True) -> Tree:
    """A model of the checkpoint's three tower layers and the vocabulary, with these tensors."""
    names = {weight_names.MAPPER.map_name(name): tensor.shape for name, tensor in files().items()}
    shapes = {str(name): tuple(shape) for name, shape in names.items() if "post_layernorm" not in str(name)}
    shapes[EMBEDDING] = (392, 128)
    if not newline:
        del shapes["image_newline"]
    model = Tree(shapes)
    weight_names.load(model, tensors.items(), config=config, tower_layers=3, tied=True, quantised=False)
    return model


def files() -> dict[str, torch.Tensor]:
    return load_file(cases.FOLDER / "checkpoint-anyres" / "model.safetensors")


def test_what_originals_have_besides_is_left_out(config: LlavaQwenConfig) -> None:
    besides = {
        f"{PREFIX}.encoder.layers.3.mlp.fc1.weight": torch.ones(192, 144),
        f"{PREFIX}.head.probe": torch.ones(1, 1, 144),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(32),
        "lm_head.weight": torch.ones(448, 128),
    }
    weights = dict(loaded(config, files() | besides).named_parameters())
    assert weights["image_newline"].equal(files()["model.image_newline"].float())
    assert weights[EMBEDDING].equal(files()["model.embed_tokens.weight"][:392].float())
    projected = files()["model.mm_projector.2.weight"].float()
    assert weights["multi_modal_projector.linear_2.weight"].equal(projected)


def test_a_newline_that_the_configuration_does_not_read_is_left_out(config: LlavaQwenConfig) -> None:
    assert not hasattr(loaded(config, files(), newline=False), "image_newline")


@pytest.mark.parametrize(
    ("lacking", "ours"),
    [
        ("model.image_newline", "image_newline"),
        (f"{PREFIX}.encoder.layers.2.mlp.fc1.weight", f"{TOWER}.encoder.layers.2.mlp.fc1.weight"),
        ("model.mm_projector.0.bias", "multi_modal_projector.linear_1.bias"),
    ],
)
def test_a_missing_weight_is_named(lacking: str, ours: str, config: LlavaQwenConfig) -> None:
    tensors = files()
    del tensors[lacking]
    with pytest.raises(ValueError, match=f"the checkpoint lacks the weights {ours}"):
        loaded(config, tensors)


@pytest.mark.parametrize("load_format", ["auto", "hf", "safetensors"])
def test_weights_in_other_files_than_safetensors_are_not_read(
    load_format: str, config: LlavaQwenConfig, tmp_path: Path
) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"a program")
    (tmp_path / "model.pt").write_bytes(b"a program")
    load_config = LoadConfig(load_format=load_format)
    weight_names.choose_files(load_config, config)
    with pytest.raises(RuntimeError, match="Cannot find any model weights"):
        DefaultModelLoader(load_config)._prepare_weights(str(tmp_path), None, None, True, None)


@pytest.mark.parametrize("load_format", ["pt", "npcache"])
def test_formats_of_pickled_weights_are_refused_by_name(load_format: str, config: LlavaQwenConfig) -> None:
    with pytest.raises(ValueError, match=f"load_format is '{load_format}', but .* safetensors only"):
        weight_names.choose_files(LoadConfig(load_format=load_format), config)


def test_the_hubs_ports_are_read_as_the_operator_says() -> None:
    load_config = LoadConfig(load_format="pt")
    weight_names.choose_files(load_config, LlavaConfig())
    assert load_config.load_format == "pt"
