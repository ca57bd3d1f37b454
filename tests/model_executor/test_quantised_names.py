"""Layers that a checkpoint's quantisation configuration leaves out are not quantised, however it names them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.config import set_current_vllm_config
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.utils.torch_utils import set_default_torch_dtype

from llava_interleave_serve.model_executor import plugin, quantised_names
from llava_interleave_serve.server.engine.defaults import ARCHITECTURE
from tests.support import checkpoints, encoder_half

WEIGHTS: dict[str, Any] = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
SCHEME = {"weights": WEIGHTS, "input_activations": WEIGHTS | {"strategy": "token", "dynamic": True}}
IN_A_BLOCK = [["self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj"], ["self_attn.o_proj"],
              ["mlp.up_proj", "mlp.gate_proj"], ["mlp.down_proj"]]  # fmt: skip
TOWER_LAYER, TEXT_LAYER = "vision_tower.vision_model.encoder.layers.0.", "language_model.model.layers.0."
TOWER = {TOWER_LAYER + name for name in ("self_attn.qkv_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")}
PROJECTOR = {"multi_modal_projector.linear_1", "multi_modal_projector.linear_2"}
TEXT = {TEXT_LAYER + name for name in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")}


def compressed(*ignore: str, target: str = "Linear") -> dict[str, Any]:
    groups = {"group_0": SCHEME | {"targets": [target]}}
    return {
        "quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": groups,
        "ignore": [*ignore, "lm_head"],
    }  # fmt: skip


def awq(*left_out: str) -> dict[str, Any]:
    return {
        "quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm",
        "modules_to_not_convert": list(left_out),
    }  # fmt: skip


def gptq(*rules: str, modules: Any = IN_A_BLOCK) -> dict[str, Any]:
    return {
        "quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": False, "sym": True,
        "modules_in_block_to_quantize": modules, "dynamic": {rule: {} for rule in rules},
    }  # fmt: skip


def fp8(tower: str, projector: str) -> dict[str, Any]:
    """tower, projector: what the configuration's names of their modules begin with."""
    attention = [f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")]
    names = [f"{tower}encoder.layers.{layer}.{name}" for layer in range(12)
             for name in (*attention, "mlp.fc1", "mlp.fc2")]  # fmt: skip
    names += [f"{projector}linear_{number}" for number in (1, 2)]
    return {"quant_method": "fp8", "activation_scheme": "dynamic", "ignored_layers": [*names, "lm_head"]}


TEXT_ALONE = {
    "compressed-tensors, of today": compressed("re:model.vision_tower.*", "re:model.multi_modal_projector.*"),
    "compressed-tensors, escaped": compressed(r"re:^model\.vision_tower\.", r"re:^model\.multi_modal_projector\..*$"),
    "compressed-tensors, one for both": compressed(r"re:(model[.]vision_tower|model[.]multi_modal_projector)[.].*"),
    "compressed-tensors, without beginnings": compressed("re:.*vision_tower.*", "re:.*multi_modal_projector.*"),
    "compressed-tensors, without a vision_model": compressed(
        r"re:model\.vision_tower\.encoder.*", r"re:.*model\.multi_modal_projector.*"
    ),
    "compressed-tensors, targets": compressed(target=r"re:model\.language_model\.layers\..*_proj"),
    "AWQ, of today": awq("model.vision_tower", "model.multi_modal_projector"),
    "AWQ, before 4.52": awq("vision_tower", "multi_modal_projector"),
    "GPTQ, names in a block": gptq(),
    "GPTQ, rules": gptq(r"-:model\.vision_tower", r"-:^model\.multi_modal_projector\.", modules=[["_proj", "linear"]]),
    "fp8, of today": fp8("model.vision_tower.vision_model.", "model.multi_modal_projector."),
    "fp8, before 4.52": fp8("vision_tower.vision_model.", "multi_modal_projector."),
    "fp8, without a vision_model": fp8("model.vision_tower.", "model.multi_modal_projector."),
}  # fmt: skip


def quantised_layers(folder: Path, quantisation: dict[str, Any]) -> set[str]:
    """Our names of the quantised layers, of the tower's and the text's layers the first."""
    plugin.register()
    model = checkpoints.copy_of_demo(folder / "model", quantization_config=quantisation)
    config = EngineArgs(
        model=str(model), hf_overrides={"architectures": [ARCHITECTURE]}, dtype="bfloat16", skip_mm_profiling=True
    ).create_engine_config()
    with (
        encoder_half.one_rank(),
        set_current_vllm_config(config),
        set_default_torch_dtype(torch.bfloat16),
        torch.device("meta"),
    ):
        layers = dict(initialize_model(vllm_config=config).named_modules())
    return {
        name
        for name, layer in layers.items()
        if isinstance(layer, LinearBase)
        and (".layers." not in name or ".layers.0." in name)
        and not isinstance(layer.quant_method, UnquantizedLinearMethod)
    }


@pytest.mark.parametrize("quantisation", TEXT_ALONE.values(), ids=TEXT_ALONE)
def test_tower_and_projector_that_are_left_out_are_not_quantised(tmp_path: Path, quantisation: dict[str, Any]) -> None:
    assert quantised_layers(tmp_path, quantisation) == TEXT


@pytest.mark.parametrize(
    ("quantisation", "expected"),
    [
        (compressed(), TOWER | PROJECTOR | TEXT),
        (compressed(r"re:model\.multi_modal_projector.*"), TOWER | TEXT),
        (compressed(r"re:model\.language_model.*"), TOWER | PROJECTOR),
        (awq("model.multi_modal_projector"), TOWER | TEXT),
    ],
)
def test_what_is_not_left_out_is_quantised(tmp_path: Path, quantisation: dict[str, Any], expected: set[str]) -> None:
    assert quantised_layers(tmp_path, quantisation) == expected


def test_expressions_are_mapped_once_and_names_are_left_to_vllm() -> None:
    names = ["re:model.vision_tower.*", "re:.*lm_head", "re:model.language_model.*", "model.vision_tower", "Linear"]
    configuration = SimpleNamespace(ignore=names)
    quantised_names.rename(configuration)
    once = configuration.ignore
    assert [name for name in once if not name.startswith("re:")] == names[3:]
    quantised_names.rename(configuration)
    assert configuration.ignore == once
