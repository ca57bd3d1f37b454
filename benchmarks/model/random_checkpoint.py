"""A checkpoint of the published dimensions with random weights.

`python -m llava_interleave_serve.benchmarks.model.random_checkpoint SIZE FOLDER`

In the hub's format (LlavaForConditionalGeneration, bfloat16, sharded safetensors), to measure what serving costs
without the weights. It answers nonsense of any length: ask with `ignore_eos`. Written tensor by tensor, a block of
rows at a time: 0.5b takes 1.7 GB of disk, 7b 16.3 GB, and either a few hundred MB of memory. The tokeniser has as many
tokens as the published one and its special tokens at their places; of the others, only bytes and the words of the load
test's text are ever met in a prompt.
"""

import argparse
import json
import string
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tokenizers import models
from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.benchmarks.load.requests.words import WORDS
from llava_interleave_serve.demo import tokenizer
from llava_interleave_serve.demo.tokenizer import SPECIAL_TOKENS

CHAT_TEMPLATE = Path(__file__).resolve().parents[2] / "model_executor" / "chat_template.jinja"
SHARD_BYTES = 5_000_000_000
BLOCK = 1 << 24  # elements drawn at a time
SPREAD = 0.02  # standard deviation of a weight
BYTES = 2  # an element, bfloat16


@dataclass(frozen=True)
class Size:
    """Dimensions of the language model and the tower; the defaults are those that all published checkpoints share."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    tied: bool
    max_window_layers: int
    vocabulary: int = 152_000
    tokens: int = 151_643  # before the special ones
    context: int = 32_768
    image: int = 384
    patch: int = 14
    tower_hidden: int = 1152
    tower_intermediate: int = 4304
    tower_layers: int = 26
    tower_heads: int = 16

    @property
    def image_token(self) -> int:
        return self.tokens + SPECIAL_TOKENS.index("<image>")

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2


SIZES = {
    "0.5b": Size(hidden=1024, intermediate=2816, layers=24, heads=16, tied=True, max_window_layers=21),
    "7b": Size(hidden=4096, intermediate=11_008, layers=32, heads=32, tied=False, max_window_layers=28),
}
Shape = tuple[int, ...]


def config(size: Size) -> dict[str, Any]:
    """config.json."""
    text = {
        "model_type": "qwen2",
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "max_position_embeddings": size.context,
        "max_window_layers": size.max_window_layers,
        "use_sliding_window": False,
        "rope_theta": 1_000_000.0,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": size.tied,
        "bos_token_id": size.tokens,
        "eos_token_id": size.tokens + 2,
        "torch_dtype": "bfloat16",
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": size.tower_hidden,
        "intermediate_size": size.tower_intermediate,
        "num_hidden_layers": size.tower_layers,
        "num_attention_heads": size.tower_heads,
        "image_size": size.image,
        "patch_size": size.patch,
        "layer_norm_eps": 1e-06,
        "vision_use_head": False,
        "torch_dtype": "bfloat16",
    }
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": size.image_token,
        "image_seq_length": size.patches,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "tie_word_embeddings": size.tied,
        "torch_dtype": "bfloat16",
        "text_config": text,
        "vision_config": vision,
    }


def tensors(size: Size) -> Iterator[tuple[str, Shape]]:
    """Names and shapes, as the hub's files have them."""
    tower, hidden = size.tower_hidden, size.hidden
    yield "vision_tower.vision_model.embeddings.patch_embedding.weight", (tower, 3, size.patch, size.patch)
    yield "vision_tower.vision_model.embeddings.patch_embedding.bias", (tower,)
    yield "vision_tower.vision_model.embeddings.position_embedding.weight", (size.patches, tower)
    for layer in range(size.tower_layers):
        name = f"vision_tower.vision_model.encoder.layers.{layer}"
        for norm in ("layer_norm1", "layer_norm2"):
            yield from _norm(f"{name}.{norm}", tower)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{name}.self_attn.{part}", tower, tower)
        yield from _linear(f"{name}.mlp.fc1", size.tower_intermediate, tower)
        yield from _linear(f"{name}.mlp.fc2", tower, size.tower_intermediate)
    yield from _norm("vision_tower.vision_model.post_layernorm", tower)
    yield from _linear("multi_modal_projector.linear_1", hidden, tower)
    yield from _linear("multi_modal_projector.linear_2", hidden, hidden)
    yield "language_model.model.embed_tokens.weight", (size.vocabulary, hidden)
    for layer in range(size.layers):
        name = f"language_model.model.layers.{layer}"
        yield f"{name}.input_layernorm.weight", (hidden,)
        yield f"{name}.post_attention_layernorm.weight", (hidden,)
        for part in ("q_proj", "k_proj", "v_proj"):
            yield from _linear(f"{name}.self_attn.{part}", hidden, hidden)
        yield f"{name}.self_attn.o_proj.weight", (hidden, hidden)
        yield f"{name}.mlp.gate_proj.weight", (size.intermediate, hidden)
        yield f"{name}.mlp.up_proj.weight", (size.intermediate, hidden)
        yield f"{name}.mlp.down_proj.weight", (hidden, size.intermediate)
    yield "language_model.model.norm.weight", (hidden,)
    if not size.tied:
        yield "language_model.lm_head.weight", (size.vocabulary, hidden)


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (rows,)


def _norm(name: str, width: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def blocks(name: str, shape: Shape, size: Size, generator: torch.Generator) -> Iterator[bytes]:
    """A tensor's bytes. Norms are the identity, biases zero; tokens from <image> on have no row, and never win."""
    total = torch.Size(shape).numel()
    drawn = size.image_token * shape[-1] if shape[0] == size.vocabulary else total
    for start in range(0, total, BLOCK):
        block = torch.zeros(min(BLOCK, total - start))
        if len(shape) == 1 and name.endswith("weight"):
            block.fill_(1.0)
        elif len(shape) > 1 and start < drawn:
            block[: drawn - start].normal_(0.0, SPREAD, generator=generator)
        yield block.to(torch.bfloat16).view(torch.uint8).numpy().tobytes()


def shards(size: Size, shard_bytes: int) -> list[list[tuple[str, Shape]]]:
    """The tensors of each file: as many as fit, in order."""
    files: list[list[tuple[str, Shape]]] = [[]]
    taken = 0
    for name, shape in tensors(size):
        length = BYTES * torch.Size(shape).numel()
        if files[-1] and taken + length > shard_bytes:
            files.append([])
            taken = 0
        files[-1].append((name, shape))
        taken += length
    return files


def write_weights(size: Size, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """model-0000N-of-0000M.safetensors and their index.

    safetensors' own writer wants a whole file in memory; the format is a length, a JSON header and the bytes.
    """
    generator = torch.Generator().manual_seed(0)
    files = shards(size, shard_bytes)
    places: dict[str, str] = {}
    written = 0
    for number, content in enumerate(files, 1):
        file = folder / f"model-{number:05}-of-{len(files):05}.safetensors"
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in content:
            start, end = end, end + BYTES * torch.Size(shape).numel()
            header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
            places[name] = file.name
        encoded = json.dumps(header).encode()
        encoded += b" " * (-len(encoded) % 8)
        with file.open("wb") as output:
            output.write(struct.pack("<Q", len(encoded)) + encoded)
            for name, shape in content:
                for block in blocks(name, shape, size, generator):
                    output.write(block)
        written += end
    index = {"metadata": {"total_size": written}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def tokeniser(size: Size) -> PreTrainedTokenizerFast:
    """A byte-level BPE whose merges make one token of each word of the load test, filled up to the real number."""
    words = [" ".join(WORDS), " ".join(map(str.capitalize, WORDS)), tokenizer.SYSTEM, "user assistant system"]
    bpe = tokenizer.train_bpe(words, min(size.tokens, 2000))
    model = json.loads(bpe.to_str())["model"]
    vocabulary: dict[str, int] = model["vocab"]
    for filler in _fillers():
        if len(vocabulary) == size.tokens:
            break
        vocabulary.setdefault(filler, len(vocabulary))
    bpe.model = models.BPE(vocabulary, [tuple(merge) for merge in model["merges"]])
    made = tokenizer.with_special_tokens(bpe, size.context)
    made.chat_template = CHAT_TEMPLATE.read_text()  # plain vLLM chats by it
    return made


def _fillers() -> Iterator[str]:
    """Words that nobody says, each after a space."""
    for length in (4, 5):
        for letters in product(string.ascii_lowercase, repeat=length):
            yield f"Ġ{''.join(letters)}"


def write(size: Size, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """The whole checkpoint. Raises FileExistsError if the folder holds anything."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    side = {"height": size.image, "width": size.image}
    half = [0.5, 0.5, 0.5]
    files = {
        "config.json": config(size),
        "generation_config.json": {"bos_token_id": size.tokens, "eos_token_id": size.tokens + 2},
        "preprocessor_config.json": {
            "image_processor_type": "SiglipImageProcessor",
            "do_resize": True,
            "do_rescale": True,
            "do_normalize": True,
            "image_mean": half,
            "image_std": half,
            "resample": 3,
            "rescale_factor": 1 / 255,
            "size": side,
        },
        "processor_config.json": {
            "processor_class": "LlavaProcessor",
            "image_token": "<image>",
            "num_additional_image_tokens": 0,
            "patch_size": size.patch,
            "vision_feature_select_strategy": "full",
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    tokeniser(size).save_pretrained(folder)
    write_weights(size, folder, shard_bytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    write(SIZES[arguments.size], arguments.folder)


if __name__ == "__main__":
    main()
