"""Checkpoints made of the demo: int8 weights are near the demo's, and an adapter is added where it belongs."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from llava_interleave_serve.benchmarks.model import derived_checkpoints
from llava_interleave_serve.server.config import DEMO_CHECKPOINT

TOWER, TEXT = "vision_tower.encoder.layers.0.mlp.fc1.weight", "language_model.model.layers.0.mlp.up_proj.weight"


def weights(folder: Path, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / name)


def test_int8_weights_are_within_half_a_step_of_what_they_stand_for(tmp_path: Path) -> None:
    demo, int8 = weights(DEMO_CHECKPOINT), weights(derived_checkpoints.in_int8(DEMO_CHECKPOINT, tmp_path))
    quantised = [name for name, tensor in int8.items() if tensor.dtype == torch.int8]
    assert len(quantised) == 7 * 5  # linear layers of each of the language model's layers
    for name in quantised:
        scale = int8[f"{name}_scale"]
        assert scale.shape == (len(demo[name]), 1)
        assert ((int8[name] * scale - demo[name].float()).abs() <= 0.501 * scale).all()
    torch.testing.assert_close(int8[TOWER], demo[TOWER], rtol=0, atol=0)


def test_what_is_left_out_is_in_the_configuration_and_the_rest_is_quantised(tmp_path: Path) -> None:
    whole = derived_checkpoints.in_int8(DEMO_CHECKPOINT, tmp_path / "whole", ())
    tensors = weights(whole)
    assert len([name for name in tensors if name.endswith("_scale")]) == 7 * 5 + 6 * 4 + 2
    assert tensors["language_model.model.embed_tokens.weight"].dtype == torch.float16
    text = derived_checkpoints.in_int8(DEMO_CHECKPOINT, tmp_path / "text")
    ignored = [
        json.loads((each / "config.json").read_text())["quantization_config"]["ignore"] for each in (whole, text)
    ]
    assert ignored == [["lm_head"], ["re:.*vision_tower.*", "re:.*multi_modal_projector.*", "lm_head"]]


def test_an_adapter_is_of_the_language_models_linear_layers_and_merging_adds_its_product(tmp_path: Path) -> None:
    adapter = derived_checkpoints.adapter(DEMO_CHECKPOINT, tmp_path / "adapter")
    updates = weights(adapter, "adapter_model.safetensors")
    assert len(updates) == 2 * 7 * 5
    merged = weights(derived_checkpoints.with_adapter_merged(DEMO_CHECKPOINT, adapter, tmp_path / "merged"))
    demo = weights(DEMO_CHECKPOINT)
    layer = f"base_model.model.{TEXT.removesuffix('.weight')}"
    expected = 2.0 * updates[f"{layer}.lora_B.weight"] @ updates[f"{layer}.lora_A.weight"]
    torch.testing.assert_close(merged[TEXT] - demo[TEXT].float(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(merged[TOWER], demo[TOWER].float(), rtol=0, atol=0)


def test_the_adapters_names_begin_as_asked(tmp_path: Path) -> None:
    folder = derived_checkpoints.adapter(DEMO_CHECKPOINT, tmp_path, prefix="model.language_model.")
    assert "base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight" in weights(
        folder, "adapter_model.safetensors"
    )
