"""A language model with a KV head for each query head computes what one does whose query heads share KV heads."""

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from llava_interleave_serve.demo.training import kv_heads


def test_repeated_kv_heads_leave_the_logits_as_they_were() -> None:
    config = Qwen2Config(
        vocab_size=50,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=3,
    )
    torch.manual_seed(0)
    grouped = Qwen2ForCausalLM(config)
    config.num_key_value_heads = 6
    single = Qwen2ForCausalLM(config)
    single.load_state_dict(kv_heads.repeated(grouped.state_dict(), 3, 2))
    tokens = torch.arange(40).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(single(input_ids=tokens).logits, grouped(input_ids=tokens).logits)
