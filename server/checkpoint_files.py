"""Looks at the files of a checkpoint's folder before vLLM does, which finds a fault late and says it in a stack."""

import json
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

CONFIG_PARTS = ("vision_config", "text_config", "image_token_index")
ORIGINAL, ORIGINAL_PARTS = "LlavaQwenForCausalLM", ("mm_vision_tower", "hidden_size", "vocab_size")  # the authors' own
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # any of these sets of files
FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")  # as PEFT writes them
ENCODER_PART = re.compile(r"vision_tower|multi_modal_projector|mm_projector")
PROJECTOR_FILE = "non_lora_trainables.bin"  # where the authors' training puts what it trains beside an adapter
# The names under which the language model's layers are found, in the hub's two formats and in the authors'.
ADAPTED = re.compile(
    r"base_model\.model\.(language_model\.(model|lm_head)|model\.language_model|model\.(layers|embed_tokens|norm)|lm_head)\b"
)
INDEX = "model.safetensors.index.json"
MOST_HEADER_BYTES = 100_000_000  # as the safetensors library has it


def first_fault(model: str, given: set[str]) -> str | None:
    """What the folder lacks or has damaged; None if nothing, or if the model is a name on the hub.

    given: engine options that the operator gave; what these replace is not looked at.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        is_path = folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1 or folder.exists()
        return f"there is no folder {model}" if is_path else None
    try:
        if given.isdisjoint({"hf_config_path", "hf_overrides", "config_format"}):
            _check_config(folder / "config.json")
        if "tokenizer" not in given and not any(_has(folder, files) for files in TOKENIZERS):
            return f"{folder} has no tokenizer.json"
        if given.isdisjoint({"load_format", "model_weights", "quantization"}):
            _check_weights(folder)
    except (OSError, ValueError) as error:
        return str(error)
    return None


def adapter_fault(adapters: Iterable[tuple[str, str]], model_name: str) -> str | None:
    """What is wrong with names and folders of LoRA adapters; None if nothing.

    model_name: under which the model itself is served. vLLM would read pickled adapters too, and would leave out what
    an adapter has for tower and projector: both are refused.
    """
    names = {model_name}
    for name, path in adapters:
        if name in names:
            return f"--lora-modules: two models would have the name {name}"
        names.add(name)
        try:
            _check_adapter(Path(path).expanduser())
        except (OSError, ValueError) as error:
            return f"--lora-modules: {error}"
    return None


def _check_adapter(folder: Path) -> None:
    """Raises ValueError for an adapter that is not PEFT's, or not of the language model alone."""
    config, weights = (folder / name for name in ADAPTER_FILES)
    _json_object(config)
    if not weights.is_file():
        raise ValueError(f"{folder} has no {weights.name}")
    if (folder / PROJECTOR_FILE).exists():
        raise ValueError(f"{folder} has {PROJECTOR_FILE}, a projector: here adapters are of the language model alone")
    names = list(_whole_header(weights).entries)
    for name in names:
        if part := ENCODER_PART.search(name):
            raise ValueError(f"{folder} adapts {part[0]} too: here adapters are of the language model alone")
    others = [name for name in names if not ADAPTED.match(name)]
    if others or not names:
        raise ValueError(f"{folder} adapts no layer of this model: {others[0] if others else 'it has no weights'}")


def _check_config(path: Path) -> None:
    config = _json_object(path)
    missing = [name for name in (ORIGINAL_PARTS if is_original(config) else CONFIG_PARTS) if name not in config]
    if missing:
        kind = config.get("model_type")
        raise ValueError(
            f"{path} is not of a LLaVA-NeXT-Interleave model: it has no {missing[0]}; model_type is {kind}"
        )


def is_original(config: Mapping[str, Any]) -> bool:
    """True for a config.json of the authors' own format, which is flat and names its tower only."""
    return config.get("model_type") == "llava_qwen" or ORIGINAL in (config.get("architectures") or ())


def _has(folder: Path, files: Iterable[str]) -> bool:
    return all((folder / name).is_file() for name in files)


def _json_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}")
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not a JSON object")
    return value


def weights_bytes(folder: Path, element_bytes: int) -> int:
    """The size in memory of a folder's weights, by the headers of its files.

    element_bytes: of a number that was saved as a float of any width; the others keep their own.

    Raises ValueError for a folder without weights, and for a damaged header.
    """
    total = 0
    for path in _weight_files(folder):
        try:
            for entry in _header(path).entries.values():
                begin, end = entry["data_offsets"]
                total += (end - begin) * element_bytes // FLOAT_BYTES.get(entry["dtype"], element_bytes)
        except (KeyError, TypeError):
            raise ValueError(f"{path} is not a safetensors file: its header is damaged") from None
    return total


def _weight_files(folder: Path) -> list[Path]:
    """The files of the weights; raises ValueError if there is none."""
    files = sorted(folder.glob("*.safetensors"))
    if (folder / INDEX).is_file():
        shards = _json_object(folder / INDEX).get("weight_map", {})
        files = sorted({folder / str(name) for name in shards.values()})
    if not files:
        raise ValueError(f"{folder} has no weights: no .safetensors file")
    return files


def _check_weights(folder: Path) -> None:
    """Raises ValueError for a missing or cut file of the weights."""
    for path in _weight_files(folder):
        if not path.is_file():
            raise ValueError(f"{folder} has no {path.name}, which its index names")
        _whole_header(path)


def _whole_header(path: Path) -> "Header":
    """The header of a safetensors file. Raises ValueError for a file that is cut, or is none."""
    header, size = _header(path), path.stat().st_size
    if size != header.file_bytes:
        raise ValueError(f"{path} is cut or damaged: it has {size} bytes, and {header.file_bytes} by its header")
    return header


class Header(NamedTuple):
    """Header of a safetensors file.

    Attributes:
        file_bytes: the size of the file by its header; of a header that is cut, the least that it makes.
        entries: `dtype`, `shape` and `data_offsets` of each tensor, by its name.

    """

    file_bytes: int
    entries: dict[str, dict[str, Any]]


def _header(path: Path) -> Header:
    """Reads the header of a safetensors file. Raises ValueError for another file and for a damaged header."""
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= MOST_HEADER_BYTES:
            raise ValueError(f"{path} is not a safetensors file")
        text = file.read(length)
    if len(text) < length:
        return Header(8 + int(length), {})
    try:
        tensors = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
        size = 8 + int(length) + max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
        return Header(size, tensors)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise ValueError(f"{path} is not a safetensors file: its header is damaged") from None
