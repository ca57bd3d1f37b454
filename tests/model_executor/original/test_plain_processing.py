"""Plain vLLM's prompts with pictures and videos become, without an engine, the authors' tokens and visuals."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image
from vllm.engine.arg_utils import EngineArgs
from vllm.multimodal import MULTIMODAL_REGISTRY

from llava_interleave_serve.model_executor import packing, plugin
from tests.support.original import cases

CASES = {case.name: case for case in cases.all_cases()}
# Those that `process_images` made of files; pictures that the authors' scripts made themselves are our server's.
ASKED = [
    "a_square", "a_land", "a_port", "a_wide6", "a_tall6", "a_tiny", "a_odd", "a_exact", "c_anyres_same_tiles",
    "c_anyres_mixed_tiles", "c_pad_stacked", "e_pad_stacked", "e_pad_one", "d_average_default", "d_bilinear_grid",
    "d_max_grid", "g_dpo_before_average2", "g_anyres_after_average2_frame", "e_video_bilinear",
]  # fmt: skip


@cache
def processor(checkpoint: str, overwrites: tuple[tuple[str, Any], ...]) -> Any:
    plugin.register()
    options = EngineArgs(model=str(cases.FOLDER / checkpoint), max_model_len=2048, hf_overrides=dict(overwrites))
    return MULTIMODAL_REGISTRY.create_processor(options.create_model_config())


def media(case: cases.Case) -> dict[str, list[Any]]:
    """The files of a case, as pictures or as the frames of videos."""
    found: dict[str, list[Any]] = {}
    for visual in case.record["visuals"]:
        images = [Image.open(cases.FOLDER / name) for name in visual["images"]]
        is_video = visual["modality"] == "video"
        item = np.stack([np.asarray(image.convert("RGB")) for image in images]) if is_video else images[0]
        found.setdefault(visual["modality"], []).append(item)
    return found


@pytest.mark.parametrize("name", ASKED)
def test_a_text_with_placeholders_and_files_becomes_the_authors_tokens_and_visuals(name: str) -> None:
    case = CASES[name]
    making = processor(case.checkpoint.name, tuple(case.record["config_overwrites"].items()))
    files, text = media(case), str(case.record["prompt"])
    if "video" in files:
        text = text.replace("<image>", "<video>")
    inputs = making(making.info.get_tokenizer().encode(text), making.info.parse_mm_data(files))
    tokens = iter(visual["tokens"] for visual in case.record["visuals"])
    expected: list[int] = []
    for token in case.record["input_ids"]:
        expected += [cases.ROWS] * next(tokens) if token == cases.PLACEHOLDER else [token]
    assert inputs["prompt_token_ids"] == expected
    places = [place for modality in files for place in inputs["mm_placeholders"][modality]]
    assert [place.offset for place in places] == [visual["first_position"] for visual in case.record["visuals"]]
    made = inputs["mm_kwargs"]
    for modality, field, numbers in (("image", "views", "packings"), ("video", "frames", "frame_packings")):
        wanted = case.visuals() if modality in files else []
        for item, visuals in zip(made.get(modality, []), wanted, strict=True):
            assert (item[field].data.numpy() == np.concatenate([visual.views for visual in visuals])).all()
            rows = item[numbers].data.reshape(len(visuals), -1).tolist()
            assert rows == [list(packing.encode(visual)) for visual in visuals]


def test_a_placeholders_text_is_a_text_where_there_are_no_files() -> None:
    making = processor("checkpoint-anyres", ())
    ids = making.info.get_tokenizer().encode("What is <image>?")
    assert making(ids, making.info.parse_mm_data({}))["prompt_token_ids"] == ids


@pytest.mark.parametrize("checkpoint", ["checkpoint-anyres", "checkpoint-dpo"])
def test_the_largest_inputs_have_the_most_rows(checkpoint: str) -> None:
    making = processor(checkpoint, ())
    inputs = making.get_dummy_mm_inputs({"image": 2, "video": 1})
    most = making.info.get_mm_max_tokens_per_item(2048, {"image": 2, "video": 1})
    assert most == {"image": 25 + 10 * 11 if checkpoint == "checkpoint-anyres" else 25, "video": 32 * 25}
    for modality, places in inputs["mm_placeholders"].items():
        assert {place.get_num_embeds() for place in places} == {most[modality]}
