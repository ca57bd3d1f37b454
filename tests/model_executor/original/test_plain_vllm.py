"""Plain vLLM serves an original folder without an override: texts, pictures and videos, cut visuals and prefix hits."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.support.original import cases, engine

pytestmark = pytest.mark.engine
PREFIX = "model.vision_tower.vision_tower.vision_model"
CASES = {case.name: case for case in cases.all_cases()}
PICTURES = ["a_square", "a_land", "a_port", "a_wide6", "a_tall6", "a_tiny", "a_odd", "a_exact", "c_anyres_mixed_tiles"]
VIDEOS = ["d_average_grid"]
# A step of fewer tokens than most visuals have; kept outputs of a single one; frames pooled as in the cases of VIDEOS.
OPTIONS: dict[str, Any] = {
    "max_num_batched_tokens": 64,
    "enable_prefix_caching": True,
    "block_size": 32,
    "hf_overrides": {"mm_spatial_pool_mode": "average", "mm_newline_position": "grid"},
    "ec_manager_config": {
        "encoder_cache_manager_cls": "llava_interleave_serve.model_executor.encoder_cache.VisualCache",
        "manager_config": {"visuals_kept": 1},
    },
}


def sharded(folder: Path) -> Path:
    """Writes the anyres checkpoint as two files, with what originals may have besides: a layer, a head, frequencies."""
    source = cases.FOLDER / "checkpoint-anyres"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "llava"}))
    tensors = load_file(source / "model.safetensors")
    layers = {name: tensor for name, tensor in tensors.items() if f"{PREFIX}.encoder.layers.2." in name}
    tensors |= {name.replace(".layers.2.", ".layers.3."): tensor * 9 for name, tensor in layers.items()}
    tensors[f"{PREFIX}.head.probe"] = torch.ones(1, 1, 144)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(32)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()  # vLLM unties a head of other values
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, half in halves.items():
        save_file({name: tensors[name].clone() for name in half}, folder / file, {"format": "pt"})
    index = {"weight_map": {name: file for file, half in halves.items() for name in half}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def question(case: cases.Case) -> engine.Question:
    """A case as plain vLLM is asked it: its text, and its files as pictures or a video."""
    visuals = case.record["visuals"]
    images = [[Image.open(cases.FOLDER / name) for name in visual["images"]] for visual in visuals]
    text: str = case.record["prompt"]
    if visuals[0]["modality"] == "video":
        frames = [np.stack([np.asarray(image.convert("RGB")) for image in video]) for video in images]
        return engine.Question(text.replace("<image>", "<video>"), {"video": frames})
    return engine.Question(text, {"image": [image for (image,) in images]})


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, engine.Reply]:
    names = [*PICTURES, *VIDEOS]
    folder = sharded(tmp_path_factory.mktemp("sharded"))
    answered = engine.run(folder, [question(CASES[name]) for name in names], **OPTIONS)
    return dict(zip(names, answered, strict=True))


@pytest.mark.parametrize("name", [*PICTURES, *VIDEOS])
def test_plain_vllm_answers_as_the_authors_from_a_sharded_folder(name: str, replies: dict[str, engine.Reply]) -> None:
    record = CASES[name].record
    tokens = iter(visual["tokens"] for visual in record["visuals"])
    expected: list[int] = []
    for token in record["input_ids"]:
        expected += [cases.ROWS] * next(tokens) if token == cases.PLACEHOLDER else [token]
    assert replies[name].prompt == expected
    assert replies[name].outputs == [record["greedy"]]


def test_a_prefix_found_in_the_cache_may_end_within_a_visual(replies: dict[str, engine.Reply]) -> None:
    within = []
    for name in PICTURES[:-1]:
        (visual,) = CASES[name].record["visuals"]
        first, again = replies[name].cached
        assert first == 0
        within.append(visual["first_position"] < again < visual["first_position"] + visual["tokens"])
    assert any(within)
