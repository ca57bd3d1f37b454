"""Pictures of plain vLLM have the pixels that the authors' code computed."""

import hashlib
import json

import pytest
from PIL import Image

from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.original import pictures
from llava_interleave_serve.model_executor.visual import Pooling, VisualFormat
from tests.support.original import cases

GEOMETRY = json.loads((cases.FOLDER / "anyres_geometry.json").read_text())
RESOLUTIONS = tuple((width, height) for width, height in GEOMETRY["pinpoints_wh"])
FORMATS = {
    "squash": VisualFormat(),
    "pad": VisualFormat("pad"),
    "anyres": VisualFormat("anyres", AnyResolution(RESOLUTIONS, 384, 27), True),
}


@pytest.mark.parametrize("key", GEOMETRY["views_at_384"])
def test_views_of_the_published_size_are_the_authors_to_the_byte(key: str) -> None:
    name, resizing = key.split(":")
    wanted = GEOMETRY["views_at_384"][key]
    visual = pictures.visual(Image.open(cases.FOLDER / name).convert("RGB"), 384, FORMATS[resizing])
    assert len(visual.views) == wanted["views"]
    assert hashlib.sha256(visual.views.transpose(0, 3, 1, 2).tobytes()).hexdigest() == wanted["sha256_uint8_NCHW"]


@pytest.mark.parametrize(
    "case", [case for case in cases.all_cases() if case.name.startswith("a_")], ids=lambda case: case.name
)
def test_visuals_have_the_authors_layout(case: cases.Case) -> None:
    ((visual,),) = case.visuals()
    (record,) = case.record["visuals"]
    assert visual.num_tokens(cases.GRID) == record["tokens"]
    across, down = record["layout"]["tiles_wh"]
    assert len(visual.views) == 1 + across * down


def test_a_video_is_squashed_pooled_and_has_newlines_as_its_format_says() -> None:
    frames = [Image.new("RGB", (30, 20), (index, 0, 0)) for index in range(3)]
    form = VisualFormat("pad", None, True, Pooling("average", 2), "one_token")
    made = pictures.video(frames, 8, form)
    assert [(frame.pooling, frame.newline) for frame in made] == [
        (Pooling("average", 2), "none"), (Pooling("average", 2), "none"), (Pooling("average", 2), "end"),
    ]  # fmt: skip
    assert [int(frame.views.max()) for frame in made] == [0, 1, 2]
    as_images = pictures.video(frames, 8, VisualFormat(has_newline=True, video_newline="grid"))
    assert {frame.newline for frame in as_images} == {"none"}


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="0x5 pixels"):
        pictures.visual(Image.new("RGB", (0, 5)), 8, FORMATS["squash"])
