"""Writes a checkpoint of the published dimensions with random weights.

`python -m llava_interleave_serve.benchmarks.model.random_checkpoint SIZE FOLDER [--format original]`

The checkpoint has the hub's format (LlavaForConditionalGeneration, bfloat16, sharded safetensors) or that of the
authors' own (LlavaQwenForCausalLM: any resolution, a newline), so that the speed of serving can be measured without the
published weights. Its answers are nonsense of any length: send `ignore_eos`. It is
written tensor by tensor, a block of rows at a time: 0.5b takes 1.7 GB of disk, 7b 16.3 GB, and either a few hundred MB
of memory. The tokeniser has as many tokens as the published one, and the special tokens have the same ids; of the
others, only bytes and the words of the load test's text can occur in a prompt.
"""

import argparse
import dataclasses
import json
import string
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.benchmarks.load.requests.conversations import WORDS
from llava_interleave_serve.benchmarks.model import original_format
from llava_interleave_serve.benchmarks.model.dimensions import SIZES, Size, config
from llava_interleave_serve.demo import tokenizer

CHAT_TEMPLATE = Path(__file__).resolve().parents[2] / "model_executor" / "chat_template.jinja"
FORMATS = ("hub", "original")
SHARD_BYTES = 5_000_000_000
BLOCK = 1 << 24  # elements drawn at a time
STANDARD_DEVIATION = 0.02  # of a weight
ELEMENT_BYTES = 2  # bfloat16
Shape = tuple[int, ...]


def tensors(size: Size) -> Iterator[tuple[str, Shape]]:
    """Yields the name and shape of every tensor, in the hub's naming."""
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
    """Yields a tensor's bytes, a block of BLOCK elements at a time.

    Weights are normally distributed, norms are the identity and biases zero. In the embeddings, the rows of <image> and
    after it are zero, so that these tokens are never generated.
    """
    total = torch.Size(shape).numel()
    nonzero = size.image_token * shape[-1] if shape[0] == size.vocabulary else total
    for start in range(0, total, BLOCK):
        block = torch.zeros(min(BLOCK, total - start))
        if len(shape) == 1 and name.endswith("weight"):
            block.fill_(1.0)
        elif (len(shape) > 1 or name.endswith("image_newline")) and start < nonzero:
            block[: nonzero - start].normal_(0.0, STANDARD_DEVIATION, generator=generator)
        yield block.to(torch.bfloat16).view(torch.uint8).numpy().tobytes()


def shards(listed: Iterable[tuple[str, Shape]], shard_bytes: int) -> list[list[tuple[str, Shape]]]:
    """The tensors of each file, in order: as many as fit into `shard_bytes`, but at least one."""
    files: list[list[tuple[str, Shape]]] = [[]]
    used = 0
    for name, shape in listed:
        length = ELEMENT_BYTES * torch.Size(shape).numel()
        if files[-1] and used + length > shard_bytes:
            files.append([])
            used = 0
        files[-1].append((name, shape))
        used += length
    return files


def write_weights(
    size: Size, listed: Iterable[tuple[str, Shape]], folder: Path, shard_bytes: int = SHARD_BYTES, *, is_single: bool
) -> None:
    """Writes model-0000N-of-0000M.safetensors and their index.

    listed: the name and shape of every tensor. is_single: True to write one file model.safetensors without an index
    where all fits into one.

    The writer of the safetensors package needs a whole file in memory. The format is simple: the length of the header
    as 8 bytes, the header as JSON, and the tensors' bytes.
    """
    generator = torch.Generator().manual_seed(0)
    files = shards(listed, shard_bytes)
    is_single = is_single and len(files) == 1
    weight_map: dict[str, str] = {}
    written = 0
    for number, content in enumerate(files, 1):
        file = folder / ("model.safetensors" if is_single else f"model-{number:05}-of-{len(files):05}.safetensors")
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in content:
            start, end = end, end + ELEMENT_BYTES * torch.Size(shape).numel()
            header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
            weight_map[name] = file.name
        encoded = json.dumps(header).encode()
        encoded += b" " * (-len(encoded) % 8)
        with file.open("wb") as output:
            output.write(struct.pack("<Q", len(encoded)) + encoded)
            for name, shape in content:
                for block in blocks(name, shape, size, generator):
                    output.write(block)
        written += end
    if is_single:
        return
    index = {"metadata": {"total_size": written}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def tokeniser(size: Size) -> PreTrainedTokenizerFast:
    """The hub's tokeniser, with `<image>`, and as many tokens as the published one."""
    complete = tokenizer.with_special_tokens(_vocabulary(size), size.context)
    complete.chat_template = CHAT_TEMPLATE.read_text()  # for vLLM's own server
    return complete


def _vocabulary(size: Size) -> Tokenizer:
    """A byte-level BPE that makes one token of each word of the load test, without special tokens."""
    words = [" ".join(WORDS), " ".join(map(str.capitalize, WORDS)), tokenizer.SYSTEM, "user assistant system"]
    bpe = tokenizer.train_bpe(words, min(size.tokens, 2000))
    model = json.loads(bpe.to_str())["model"]
    vocabulary: dict[str, int] = model["vocab"]
    for filler in _fillers():
        if len(vocabulary) == size.tokens:
            break
        vocabulary.setdefault(filler, len(vocabulary))
    bpe.model = models.BPE(vocabulary, [tuple(merge) for merge in model["merges"]])
    return bpe


def _fillers() -> Iterator[str]:
    """Yields words of four and five letters, each after a space, that no prompt contains."""
    for length in (4, 5):
        for letters in product(string.ascii_lowercase, repeat=length):
            yield f"Ġ{''.join(letters)}"


def write(size: Size, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes the whole checkpoint in the hub's format. Raises FileExistsError if the folder is not empty."""
    _make_empty(folder)
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
    _write_json(folder, files)
    tokeniser(size).save_pretrained(folder)
    write_weights(size, tensors(size), folder, shard_bytes, is_single=False)


def write_original(size: Size, folder: Path, shard_bytes: int = SHARD_BYTES, *, has_newline: bool = True) -> None:
    """Writes the whole checkpoint in the authors' own format. Raises FileExistsError if the folder is not empty.

    has_newline: True for any resolution and a newline, False to pad and have none, as 7b-dpo.
    """
    _make_empty(folder)
    size = dataclasses.replace(size, vocabulary=original_format.vocabulary(size))
    files = {
        "config.json": original_format.config(size, has_newline=has_newline),
        "generation_config.json": original_format.generation_config(size),
    }
    _write_json(folder, files)
    original_format.tokeniser(_vocabulary(size), size.context).save_pretrained(folder)
    listed = original_format.tensors(tensors(size), size, has_newline=has_newline)
    write_weights(size, listed, folder, shard_bytes, is_single=True)


def _make_empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")


def _write_json(folder: Path, files: Mapping[str, Any]) -> None:
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def write_named(name: str, file_format: str, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes a checkpoint of one of SIZES in one of FORMATS. Raises FileExistsError if the folder is not empty."""
    if file_format == "original":
        write_original(SIZES[name], folder, shard_bytes, has_newline=name not in original_format.NO_NEWLINE)
    else:
        write(SIZES[name], folder, shard_bytes)


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("size", choices=SIZES, help="of the language model")
    options.add_argument("folder", type=Path, help="new, or empty")
    options.add_argument("--format", choices=FORMATS, default="hub", help="of the files (%(default)s)")
    options.add_argument("--shard-bytes", type=int, default=SHARD_BYTES, help="most bytes of a file (%(default)s)")
    return options


def main() -> None:
    arguments = parser().parse_args()
    write_named(arguments.size, arguments.format, arguments.folder, arguments.shard_bytes)


if __name__ == "__main__":
    main()
