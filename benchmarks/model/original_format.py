"""The authors' own format of a checkpoint (`LlavaQwenForCausalLM`): its weights' names, configuration and tokeniser.

Source: config.json and the weight index of lmms-lab/llava-next-interleave-qwen-0.5b, -7b and -7b-dpo on the hub.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.benchmarks.model.dimensions import SIZES, Size

Shape = tuple[int, ...]
# The hub's names of weights, and the authors'.
PREFIXES = {
    "vision_tower.": "model.vision_tower.vision_tower.",
    "multi_modal_projector.linear_1.": "model.mm_projector.0.",
    "multi_modal_projector.linear_2.": "model.mm_projector.2.",
    "language_model.": "",
}
CONTROLS = 3  # of the tokeniser: <|endoftext|>, <|im_start|>, <|im_end|>, and no <image>
ROWS = 64  # of the embeddings, which are as many as a multiple of this
TOWER = "google/siglip-so400m-patch14-384"
NO_NEWLINE = ("7b-dpo",)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def vocabulary(size: Size) -> int:
    """Rows of the embeddings: of the published sizes 151,936."""
    return -(-(size.tokens + CONTROLS) // ROWS) * ROWS if size.tokens != Size.tokens else 151_936


def tensors(hub: Iterable[tuple[str, Shape]], size: Size, *, has_newline: bool) -> Iterator[tuple[str, Shape]]:
    """Yields the name and shape of every tensor. hub: those of the same model in the hub's naming."""
    for name, shape in hub:
        prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
        yield PREFIXES[prefix] + name.removeprefix(prefix), shape
    if has_newline:
        yield "model.image_newline", (size.hidden,)


def config(size: Size, *, has_newline: bool) -> dict[str, Any]:
    """The content of config.json. has_newline: True for any resolution and newlines, False as in -7b-dpo."""
    side = size.image
    pinpoints = [[side, 2 * side], [2 * side, side], [2 * side, 2 * side], [3 * side, side], [side, 3 * side]]
    of_pictures: dict[str, Any] = {
        "image_aspect_ratio": "anyres" if has_newline else "pad",
        "image_grid_pinpoints": pinpoints if has_newline else None,
        "mm_patch_merge_type": "spatial_unpad" if has_newline else "flat",
    }
    if not has_newline:
        of_pictures |= {"mm_newline_position": "grid", "mm_pooling_position": "before"}
    return {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava_qwen",
        "bos_token_id": size.tokens,
        "eos_token_id": size.tokens + 2,
        "hidden_act": "silu",
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "max_position_embeddings": size.context,
        "max_window_layers": size.max_window_layers,
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "num_key_value_heads": size.heads,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1_000_000.0,
        "sliding_window": size.context,
        "use_sliding_window": False,
        "tie_word_embeddings": size.tied,
        "vocab_size": vocabulary(size),
        "torch_dtype": "bfloat16",
        "tokenizer_model_max_length": size.context,
        "tokenizer_padding_side": "right",
        "image_crop_resolution": 224,
        "image_split_resolution": 224,
        "mm_hidden_size": size.tower_hidden,
        "mm_projector_type": "mlp2x_gelu",
        "mm_resampler_type": None,
        "mm_tunable_parts": "mm_mlp_adapter,mm_language_model",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": TOWER,
        "use_mm_proj": True,
        **of_pictures,
        **({} if _has_published_tower(size) else {"vision_config": _tower(size)}),
    }


def _has_published_tower(size: Size) -> bool:
    published = SIZES["7b"]
    fields = ("image", "patch", "tower_hidden", "tower_intermediate", "tower_layers", "tower_heads")
    return all(getattr(size, field) == getattr(published, field) for field in fields)


def _tower(size: Size) -> dict[str, Any]:
    """The sizes of a tower that no published name stands for; its layers count the one that the authors delete."""
    return {
        "hidden_size": size.tower_hidden,
        "intermediate_size": size.tower_intermediate,
        "num_hidden_layers": size.tower_layers + 1,
        "num_attention_heads": size.tower_heads,
        "num_channels": 3,
        "image_size": size.image,
        "patch_size": size.patch,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-06,
    }


def generation_config(size: Size) -> dict[str, Any]:
    """The content of generation_config.json, as Qwen1.5's of that size has it."""
    sampling: dict[str, Any] = {"repetition_penalty": 1.1, "top_p": 0.8}
    if not size.tied:
        sampling = {"repetition_penalty": 1.05, "temperature": 0.7, "top_k": 20, "top_p": 0.8}
    return {
        "bos_token_id": size.tokens,
        "do_sample": True,
        "eos_token_id": [size.tokens + 2, size.tokens],
        "pad_token_id": size.tokens,
        **sampling,
    }


def tokeniser(definition: Any, context: int) -> PreTrainedTokenizerFast:
    """The tokeniser without `<image>`. definition: one of `tokenizers`, without special tokens."""
    definition.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    complete = PreTrainedTokenizerFast(
        tokenizer_object=definition,
        pad_token="<|endoftext|>",  # noqa: S106 - no password
        eos_token="<|im_end|>",  # noqa: S106
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    complete.chat_template = CHAT_TEMPLATE
    return complete
