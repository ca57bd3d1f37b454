"""Checkpoints made of another one, in the hub's format: with int8 layers, with a LoRA adapter.

Each function writes a folder beside the checkpoint that it reads, whose weights are in one file.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

CONFIG, WEIGHTS = "config.json", "model.safetensors"
LANGUAGE_LAYER = re.compile(r"language_model\..*\.(?:[qkvo]_proj|gate_proj|up_proj|down_proj)\.weight$")
LINEAR = re.compile(r"\.(?:[qkvo]_proj|out_proj|gate_proj|up_proj|down_proj|fc[12]|linear_[12])\.weight$")
RANK, ALPHA = 8, 16  # of the adapter; its updates are multiplied by their ratio
# What leaves tower and projector out, as llm-compressor's recipes for models of this class write it.
TEXT_ALONE = ("re:.*vision_tower.*", "re:.*multi_modal_projector.*")


def in_int8(source: Path, folder: Path, ignore: tuple[str, ...] = TEXT_ALONE) -> Path:
    """Copies a checkpoint, its linear layers quantised as compressed-tensors' W8A8.

    Weights are int8 with a scale for each output channel, its largest magnitude over 127; activations are quantised
    when the model runs, with a scale for each token. ignore: names or `re:` expressions of layers that stay as they
    are; the output layer does anyway.
    """
    config = json.loads((source / CONFIG).read_text())
    scheme = {"num_bits": 8, "type": "int", "symmetric": True}
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "format": "int-quantized",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": scheme | {"strategy": "channel", "dynamic": False},
                "input_activations": scheme | {"strategy": "token", "dynamic": True},
            }
        },
        "ignore": [*ignore, "lm_head"],
    }
    left_out = [re.compile(name.removeprefix("re:")) for name in ignore]
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(source / WEIGHTS).items():
        if LINEAR.search(name) and not any(expression.match(name) for expression in left_out):
            weight, scale = quantised(tensor)
            tensors |= {name: weight, f"{name}_scale": scale}
        else:
            tensors[name] = tensor
    return _write(source, folder, config, tensors)


def quantised(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [C, K] as int8 [C, K] and the float32 scales [C, 1] of its output channels."""
    scale = weight.float().abs().amax(1, keepdim=True).clamp(min=1e-12) / 127.0
    return (weight.float() / scale).round().to(torch.int8), scale


def adapter(source: Path, folder: Path, seed: int = 0, prefix: str = "language_model.model.") -> Path:
    """Writes a random LoRA adapter, in PEFT's format, of every linear layer of a checkpoint's language model.

    prefix: what the adapter's names of these layers begin with; transformers from 4.52 has `model.language_model.`.
    """
    random = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in load_file(source / WEIGHTS).items():
        if LANGUAGE_LAYER.search(name):
            rows, columns = weight.shape
            layer = f"base_model.model.{prefix}{name.partition('model.model.')[2].removesuffix('.weight')}"
            tensors[f"{layer}.lora_A.weight"] = torch.randn(RANK, columns, generator=random) / columns**0.5
            tensors[f"{layer}.lora_B.weight"] = 0.05 * torch.randn(rows, RANK, generator=random) / RANK**0.5
    config: dict[str, Any] = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "bias": "none",
        "target_modules": sorted({name.split(".")[-3] for name in tensors}),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


def with_adapter_merged(source: Path, adapter_folder: Path, folder: Path) -> Path:
    """Copies a checkpoint in float32, an adapter of `adapter` added to its weights: W + B A alpha / r."""
    config = json.loads((source / CONFIG).read_text())
    updates = load_file(adapter_folder / "adapter_model.safetensors")
    tensors = {name: tensor.float() for name, tensor in load_file(source / WEIGHTS).items()}
    for name, weight in tensors.items():
        layer = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{layer}.lora_A.weight" in updates:
            update = updates[f"{layer}.lora_B.weight"].double() @ updates[f"{layer}.lora_A.weight"].double()
            tensors[name] = (weight.double() + update * (ALPHA / RANK)).float()
    return _write(source, folder, config, tensors)


def _write(source: Path, folder: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Path:
    """Copies the checkpoint's other files, and writes configuration and weights."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(CONFIG, WEIGHTS), dirs_exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config))
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    return folder
