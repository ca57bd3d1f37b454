"""Model Runner V2, which vLLM takes on CUDA: its EncoderRunner over our model gives what vLLM's own merge gives."""

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import LlavaConfig
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.models import utils
from vllm.multimodal.inputs import MultiModalFeatureSpec, MultiModalFieldConfig, MultiModalKwargsItems, PlaceholderRange
from vllm.v1.worker.gpu.mm.encoder_cache import EncoderCache
from vllm.v1.worker.gpu.mm.encoder_runner import EncoderRunner

from llava_interleave_serve.kernels import ops
from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling
from tests.support import checkpoints, encoder_half
from tests.support.checkpoints import GRID, IMAGE_SIZE, PATCHES

WIDTH, VOCABULARY = 192, 100
BILINEAR, AVERAGE, MAX = (Pooling(mode, 2) for mode in ("bilinear", "average", "max"))
BILINEAR_ROWS, AVERAGE_ROWS, MAX_ROWS = (pooling.side(GRID) ** 2 for pooling in (BILINEAR, AVERAGE, MAX))
# Of each request: the visuals' offsets in the prompt, with their poolings.
PROMPTS = {
    "chunk": [(5, UNPOOLED), (11 + PATCHES, BILINEAR), (15 + PATCHES + BILINEAR_ROWS, UNPOOLED)],
    "decoding": [(2, AVERAGE)],
    "other": [(1, MAX)],
}
# The step: name, tokens computed before, tokens of this step, tokens of the prompt.
STEP = [
    ("chunk", PATCHES - 29, 50, 42 + 2 * PATCHES),
    ("decoding", 5 + AVERAGE_ROWS, 1, 5 + AVERAGE_ROWS),
    ("other", 0, 3 + MAX_ROWS, 3 + MAX_ROWS),
]


@pytest.fixture(scope="module")
def model() -> Iterator[LlavaInterleaveForConditionalGeneration]:
    with encoder_half.one_rank():
        model = encoder_half.make(LlavaConfig.from_pretrained(checkpoints.DEMO), torch.float32)
        encoder_half.load(model, checkpoints.DEMO)
        table = VocabParallelEmbedding(VOCABULARY, WIDTH)
        torch.nn.init.normal_(table.weight, generator=torch.Generator().manual_seed(0))
        language_model = SimpleNamespace(model=SimpleNamespace(embed_tokens=table))
        object.__setattr__(model, "language_model", language_model)
        yield model


def features(name: str) -> list[MultiModalFeatureSpec]:
    """The visuals of a request, as vLLM's front end makes them of the processor's output."""
    random = torch.Generator().manual_seed(len(name))
    poolings = [pooling for _, pooling in PROMPTS[name]]
    items = MultiModalKwargsItems.from_hf_inputs(
        {
            "views": torch.randint(
                0, 256, (len(poolings), 1, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8, generator=random
            ),
            "packings": encoder_half.packings(poolings),
        },
        {
            "views": MultiModalFieldConfig.batched("image"),
            "packings": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
        },
    )["image"]
    return [
        MultiModalFeatureSpec(item, "image", f"{name} {offset}", PlaceholderRange(offset, pooling.side(GRID) ** 2))
        for item, (offset, pooling) in zip(items, PROMPTS[name], strict=True)
    ]


@torch.inference_mode()
def test_a_step_that_cuts_visuals_is_bit_for_bit_vllms_own_merge(
    model: LlavaInterleaveForConditionalGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = EncoderCache()
    runner = EncoderRunner(model, 256, WIDTH, cache, torch.float32, torch.device("cpu"))
    for name in PROMPTS:
        cache.add_request(name, features(name))
    hashes, inputs = runner.prepare_mm_inputs({"chunk": [0, 1, 2], "decoding": [0], "other": [0]})
    cache.encoder_outputs.update(zip(hashes, runner.execute_mm_encoder(inputs), strict=True))

    names, computed, scheduled, prompts = (list(column) for column in zip(*STEP, strict=True))
    starts = np.cumsum([0, *scheduled])
    rows, is_visual = runner.gather_mm_embeddings(
        names, int(starts[-1]), np.array(scheduled), starts, np.array(prompts), np.array(computed)
    )
    assert [len(each) for each in rows] == [34, 10, MAX_ROWS]  # of a visual from its 29th last row, its first 10, all
    assert int(is_visual.sum()) == 44 + MAX_ROWS
    ids = torch.arange(len(is_visual), dtype=torch.int32) % VOCABULARY

    ours_ran = []
    merge = ops.merge_prefill

    def counted(*given: torch.Tensor) -> torch.Tensor:
        ours_ran.append(1)
        return merge(*given)

    monkeypatch.setattr(ops, "merge_prefill", counted)
    ours = runner.get_inputs_embeds(ids, rows, is_visual)[: len(ids)].clone()
    table = model.language_model.model.embed_tokens
    vllms = utils._merge_multimodal_embeddings(table(ids), rows, is_visual)
    assert ours_ran == [1]
    assert torch.equal(ours, vllms)
