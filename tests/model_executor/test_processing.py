"""Visuals become vLLM's items. (test_parity.py tests that placeholders become rows.)"""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from vllm.multimodal.media.base import MediaWithBytes

from llava_interleave_serve.model_executor import processing
from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.visual import Pooling, Visual, VisualFormat

PICTURE = AnyResolution(((16, 8), (8, 16)), 8, 4)
VIEWS = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)


def digest(visual: Visual) -> str:
    from vllm.multimodal.hasher import MultiModalHasher

    return MultiModalHasher.hash_kwargs("blake3", item=processing.VisualItems([visual]).get_item_for_hash(0))


def test_equal_visuals_have_equal_hashes() -> None:
    assert digest(Visual(VIEWS.copy())) == digest(Visual(VIEWS))


def test_the_hash_of_a_visual_depends_on_pixels_pooling_shape_and_salt() -> None:
    changed = VIEWS.copy()
    changed[0, 7, 7, 2] ^= 1
    reshaped = np.zeros((1, 4, 4, 3), np.uint8)
    others = [
        Visual(changed),
        Visual(VIEWS, Pooling("average", 2)),
        Visual(VIEWS, Pooling("average", 3)),
        Visual(VIEWS, Pooling("max", 2)),
        Visual(VIEWS, Pooling("max", 2, before_projector=True)),
        Visual(VIEWS, newline="end"),
        Visual(VIEWS, newline="row"),
        Visual(np.repeat(VIEWS, 3, 0), layout=PICTURE.layout(16, 8)),
        Visual(np.repeat(VIEWS, 3, 0), layout=PICTURE.layout(16, 4)),
        Visual(reshaped),
        Visual(VIEWS, cache_salt="a"),
        Visual(VIEWS, cache_salt="b"),
        Visual(np.zeros((1, 8, 8, 3), np.uint8)),
    ]
    digests = [digest(Visual(VIEWS)), *map(digest, others)]
    assert len(set(digests)) == len(digests)


def test_pictures_of_plain_vllm_become_visuals() -> None:
    parser = processing.VisualParser(8)
    picture = Image.fromarray(np.full((5, 9, 3), 77, np.uint8))
    items = parser.parse_mm_data({"image": [picture, np.asarray(picture), Visual(VIEWS)]})["image"]
    assert [item.views.shape for item in items] == [(1, 8, 8, 3)] * 3
    assert (items[0].views == 77).all()
    assert (items[1].views == items[0].views).all()
    assert items[2].views is VIEWS


def test_videos_of_plain_vllm_become_views() -> None:
    parser = processing.VisualParser(8)
    frames = np.full((3, 5, 9, 3), 50, np.uint8)
    fetched = (frames, {"fps": 1})
    videos: list[Any] = [fetched, MediaWithBytes(fetched, b"file"), (MediaWithBytes(frames, b"file"), {})]
    for video in videos:
        items = parser.parse_mm_data({"video": [video]})["video"]
        assert [frame.views.shape for frame in items[0]] == [(1, 8, 8, 3)] * 3
        assert parser.parse_mm_data({"video": list(items)})["video"][0] == items[0]
    with pytest.raises(ValueError, match="no frames"):
        parser.parse_mm_data({"video": [(frames[:0], {})]})


def test_the_hash_of_a_video_depends_on_its_packing() -> None:
    from vllm.multimodal.hasher import MultiModalHasher

    def of(frames: list[Visual]) -> str:
        return MultiModalHasher.hash_kwargs("blake3", item=processing.VideoItems([frames]).get_item_for_hash(0))

    plain, pooled = [Visual(VIEWS)] * 2, [Visual(VIEWS), Visual(VIEWS, newline="end")]
    assert of(plain) == of([Visual(VIEWS.copy())] * 2)
    assert len({of(plain), of(pooled), of(plain[:1])}) == 3


@pytest.mark.parametrize(
    "visual", [Visual(VIEWS, newline="end"), Visual(np.repeat(VIEWS, 3, 0), layout=PICTURE.layout(16, 8))]
)
def test_a_checkpoint_without_a_newline_refuses_visuals_with_one(visual: Visual) -> None:
    with pytest.raises(ValueError, match="no newline"):
        processing.VisualParser(8).parse_mm_data({"image": [visual]})
    form = VisualFormat(has_newline=True)
    assert processing.VisualParser(8, form).parse_mm_data({"image": [visual]})["image"][0] is visual
