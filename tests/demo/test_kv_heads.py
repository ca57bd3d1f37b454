"""The demo with a KV head for each query head, on which tests split the model, is the same model."""

from pathlib import Path

import torch
from transformers import LlavaForConditionalGeneration

from llava_interleave_serve.benchmarks.model import derived_checkpoints
from llava_interleave_serve.server.config import DEMO_CHECKPOINT


def test_repeated_kv_heads_leave_the_logits_as_they_were(tmp_path: Path) -> None:
    tokens = torch.arange(100, 140).unsqueeze(0)
    logits, heads = [], []
    for folder in (
        DEMO_CHECKPOINT,
        derived_checkpoints.with_a_kv_head_for_each_query_head(DEMO_CHECKPOINT, tmp_path / "split"),
    ):
        model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        heads.append(model.config.text_config.num_key_value_heads)
        with torch.no_grad():
            logits.append(model(input_ids=tokens).logits)
    assert heads == [3, 6]
    torch.testing.assert_close(logits[1], logits[0])
