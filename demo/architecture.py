"""Configuration of the demo checkpoint: the published architecture at a thousandth of its size."""

from transformers import LlavaConfig, Qwen2Config, SiglipVisionConfig

IMAGE_SIZE = 208
PATCH_SIZE = 16
GRID = IMAGE_SIZE // PATCH_SIZE
PATCHES = GRID**2
CONTEXT = 16_384  # tokens: 64 whole video frames, and the definitions of a chat program's tools


def config(vocabulary: int, image_token: int, end_token: int, pad_token: int) -> LlavaConfig:
    """A SigLIP tower with a grid of 13x13 patches, and a Qwen2 with heads of size 32, which vLLM serves on CPUs too.

    vocabulary: the number of tokens. image_token, end_token, pad_token: their ids.
    """
    tower = SiglipVisionConfig(
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        vision_use_head=False,
    )
    language = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=384,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=CONTEXT,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=pad_token,
        eos_token_id=end_token,
        pad_token_id=pad_token,
    )
    return LlavaConfig(
        vision_config=tower.to_dict(),
        text_config=language.to_dict(),
        image_token_index=image_token,
        projector_hidden_act="gelu",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=GRID**2,
        tie_word_embeddings=True,
        dtype="float32",
    )
