"""The rows of visuals of the authors' checkpoints are those of the authors' own code, without an engine."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig
from vllm.model_executor.layers import linear

from llava_interleave_serve.model_executor import packing, plugin, weight_names
from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from llava_interleave_serve.model_executor.visual import Visual
from llava_interleave_serve.model_executor.vllm_compat import AutoWeightsLoader
from tests.support import encoder_half
from tests.support.original import cases

CASES = {case.name: case for case in cases.all_cases() if case.record["visuals"]}
CHECKPOINTS = {case.checkpoint.name: case.checkpoint for case in CASES.values()}
ENCODER = ("vision_tower", "multi_modal_projector", "image_newline")


def load(folder: Path) -> LlavaInterleaveForConditionalGeneration:
    """The encoder half with the checkpoint's weights."""
    plugin.register()
    config = AutoConfig.from_pretrained(folder)
    model = encoder_half.make(config, torch.float32)
    if config.visual_format.has_newline:
        model.image_newline = torch.nn.Parameter(torch.empty(config.text_config.hidden_size))
    named = weight_names.MAPPER.apply(load_file(folder / "model.safetensors").items())
    AutoWeightsLoader(model).load_weights(
        (name, tensor) for name, tensor in named if name.startswith(ENCODER) and "post_layernorm" not in name
    )
    for module in model.modules():
        if isinstance(module, linear.LinearBase):
            module.quant_method.process_weights_after_loading(module)
    return model


@pytest.fixture(scope="module")
def models() -> Iterator[dict[str, LlavaInterleaveForConditionalGeneration]]:
    with encoder_half.one_rank():
        yield {name: load(folder) for name, folder in CHECKPOINTS.items()}


@cache
def table(name: str) -> torch.Tensor:
    """The text embeddings of the checkpoint of that name."""
    return load_file(CHECKPOINTS[name] / "model.safetensors")["model.embed_tokens.weight"].float()


@torch.inference_mode()
def encode(model: LlavaInterleaveForConditionalGeneration, visuals: list[Visual]) -> list[torch.Tensor]:
    """The rows of visuals, encoded in one call."""
    views = [torch.from_numpy(visual.views) for visual in visuals]
    packings = torch.tensor([packing.encode(visual) for visual in visuals])
    return list(model.embed_multimodal(views=views, packings=packings))


@pytest.mark.parametrize("name", CASES)
def test_rows_of_visuals_are_those_of_the_authors(
    name: str, models: dict[str, LlavaInterleaveForConditionalGeneration]
) -> None:
    case = CASES[name]
    groups = case.visuals()
    rows = iter(encode(models[case.checkpoint.name], [visual for group in groups for visual in group]))
    each = iter(torch.cat([next(rows) for _ in group]) for group in groups)
    ids = case.record["input_ids"]
    text = table(case.checkpoint.name)
    embeddings = torch.cat([next(each) if token == cases.PLACEHOLDER else text[token][None] for token in ids]).numpy()
    signature = cases.signature(embeddings.astype(np.float64))
    np.testing.assert_allclose(signature[:, :4], case.signatures[:, :4], rtol=0, atol=1e-4)
    np.testing.assert_allclose(signature, case.signatures, rtol=0, atol=1e-3)
    with np.load(cases.FOLDER / "full.npz") as whole:
        if f"{name}.embeddings" in whole:
            np.testing.assert_allclose(embeddings, whole[f"{name}.embeddings"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_rows_are_the_same_encoded_with_those_of_every_other_case(
    checkpoint: str, models: dict[str, LlavaInterleaveForConditionalGeneration]
) -> None:
    asked = [case for case in CASES.values() if case.checkpoint.name == checkpoint]
    visuals = [visual for case in asked for group in case.visuals() for visual in group]
    together = encode(models[checkpoint], visuals)
    for visual, rows in zip(visuals, together, strict=True):
        (alone,) = encode(models[checkpoint], [visual])
        torch.testing.assert_close(rows, alone, rtol=0, atol=1e-5 * float(alone.abs().max()))
