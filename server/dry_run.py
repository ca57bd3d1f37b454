"""The plan of `llava-interleave serve --dry-run`: what fits on a card or this machine, without loading weights."""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llava_interleave_serve.model_executor import encoder_limits
from llava_interleave_serve.server import checkpoint_files
from llava_interleave_serve.server.engine import cards, memory_plan
from llava_interleave_serve.server.engine.cards import CARDS, Device
from llava_interleave_serve.server.engine.defaults import DEMO_KV_BYTES, MEMORY_OPTIONS, wants_float32
from llava_interleave_serve.server.engine.memory_plan import MemoryPlan, ModelSizes, gib

KV_SPACE_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"  # vLLM's own, in GiB
ELEMENT_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}
ESTIMATED = "\u2248"  # before what is an estimate
# Options of vLLM that the plan counts, or that change nothing of it.
COUNTED = {
    "model", "served_model_name", "dtype", "kv_cache_dtype", "max_model_len", "max_num_batched_tokens", "max_num_seqs",
    "block_size", "tensor_parallel_size", "mm_encoder_tp_mode", *MEMORY_OPTIONS,
}  # fmt: skip
TOWER = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26,
    "num_attention_heads": 16, "image_size": 384, "patch_size": 14,
}  # fmt: skip
QWEN = {"model_type": "qwen2", "vocab_size": 152_000, "max_position_embeddings": 32_768}
SMALL = QWEN | {
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "num_attention_heads": 16,
    "num_key_value_heads": 16, "tie_word_embeddings": True,
}  # fmt: skip
LARGE = QWEN | {
    "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "tie_word_embeddings": False,
}  # fmt: skip
# The checkpoints on the hub, by the language model of their config.json: their dtype is bfloat16.
PUBLISHED = {
    "llava-hf/llava-interleave-qwen-0.5b-hf": SMALL,
    "llava-hf/llava-interleave-qwen-7b-hf": LARGE,
    "llava-hf/llava-interleave-qwen-7b-dpo-hf": LARGE,
}


def describe(model: str, device: Device | None, values: Mapping[str, Any], *, is_demo: bool) -> str:
    """The plan, one value a line; the last is the line that the start writes into its log.

    device: None for this machine. values: options of vLLM and of the encoder cache that the operator gave.

    Raises ValueError, in one sentence, for a model whose sizes are not known and for one that does not fit.
    """
    on_cpu = False
    if device is None:
        device, on_cpu = _this_machine(values)
        if on_cpu:
            values = _cpu_values(values, is_demo)
    plan = make_plan(model, device, values)
    lines = [f"{model} on {device.name}; {ESTIMATED} marks estimates"]
    lines += [f"  {name:<17} {value}" for name, value in cells(plan).items()]
    uncounted = sorted(set(values) - COUNTED - {"encoder_cache_visuals", "encode_visuals_at_once"})
    if uncounted:
        lines.append("not counted: " + ", ".join("--" + name.replace("_", "-") for name in uncounted))
    return "\n".join([*lines, _log_line(plan, values, on_cpu)])


def _log_line(plan: MemoryPlan, values: Mapping[str, Any], on_cpu: bool) -> str:
    device, first = plan.device, None
    if "kv_cache_memory_bytes" not in values:
        share = device.share
        if "gpu_memory_utilization" not in values:
            share = memory_plan.share_without_outputs(share, plan.outputs_bytes, device.memory_bytes)
        room = memory_plan.room_of(device.memory_bytes, plan.kv_bytes)
        first = room if on_cpu else memory_plan.share_of(device.memory_bytes, share)
    return memory_plan.sentence(
        plan.blocks, device.block_size, plan.patches, plan.context, kept_bytes=plan.outputs_bytes, first=first
    )


def make_plan(model: str, device: Device, values: Mapping[str, Any]) -> MemoryPlan:
    """Splits the device's memory for the model, with what the operator gave in place of defaults.

    Raises ValueError as `describe` does.
    """
    sizes = model_sizes(model, values.get("dtype", "auto"))
    fields = {
        "share": "gpu_memory_utilization",
        "tokens_a_step": "max_num_batched_tokens",
        "sequences": "max_num_seqs",
        "block_size": "block_size",
    }
    given = {field: values[option] for field, option in fields.items() if option in values}
    device = dataclasses.replace(device, **given)
    if "encode_visuals_at_once" in values:
        patches = min(values["encode_visuals_at_once"] * sizes.patches, device.tokens_a_step)
        device = dataclasses.replace(device, patches_a_step=patches)
    visuals_kept = values.get("encoder_cache_visuals", encoder_limits.VISUALS_KEPT)
    kept = memory_plan.outputs_bytes(sizes, device, visuals_kept)
    plan = memory_plan.split(
        sizes,
        device,
        0 if "gpu_memory_utilization" in values else kept,  # then they take of what vLLM leaves free
        workers=values.get("tensor_parallel_size", 1),
        shares_views=values.get("mm_encoder_tp_mode", "weights" if device.name == cards.CPU else "data") == "data",
        kv_element_bytes=_kv_element_bytes(values.get("kv_cache_dtype", "auto")),
    )
    plan = dataclasses.replace(plan, outputs_bytes=kept)
    if (kv_bytes := values.get("kv_cache_memory_bytes")) is not None:
        most = plan.kv_bytes + plan.reserve_bytes
        if not plan.block_bytes <= kv_bytes <= most:
            raise ValueError(f"KV blocks can have from one block to {gib(most)}, and not {gib(kv_bytes)}")
        plan = dataclasses.replace(plan, kv_bytes=kv_bytes, reserve_bytes=most - kv_bytes)
    return _with_context(plan, values.get("max_model_len", -1))


def _with_context(plan: MemoryPlan, length: int) -> MemoryPlan:
    if length == -1:
        return plan
    most = min(plan.longest_context, plan.tokens)
    if length > most:
        raise ValueError(f"--max-model-len: a context of {length:,} tokens does not fit; at most {most:,} do")
    return dataclasses.replace(plan, longest_context=length)


def _kv_element_bytes(dtype: str) -> int | None:
    """Bytes of an element of a KV block; None for those of the model's own dtype."""
    if dtype == "auto":
        return None
    if dtype.startswith("fp8"):
        return 1
    if dtype in ELEMENT_BYTES:
        return ELEMENT_BYTES[dtype]
    raise ValueError(f"--kv-cache-dtype {dtype} is not known to --dry-run: it knows auto, bfloat16, float16 and fp8")


def model_sizes(model: str, dtype: str) -> ModelSizes:
    """The sizes of a published model by its configuration, or of a folder by its config.json and safetensors headers.

    dtype: vLLM's option. Raises ValueError for another model, and for a configuration that cannot be read.
    """
    import transformers  # noqa: PLC0415 - 3 s of imports
    from huggingface_hub.errors import StrictDataclassError  # noqa: PLC0415

    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415

    folder = Path(model).expanduser()
    published = not folder.is_dir()
    if published and model not in PUBLISHED:
        raise ValueError(f"--dry-run knows the sizes of a folder and of {', '.join(PUBLISHED)}: not of {model}")
    fields = {"text_config": PUBLISHED[model], "vision_config": TOWER, "dtype": "bfloat16"} if published else None
    try:
        read = fields or json.loads((folder / "config.json").read_bytes())
        if checkpoint_files.is_original(read):
            vllm_compat.load_general_plugins()  # which tell transformers how to read the authors' own format
            config = transformers.AutoConfig.from_pretrained(folder)
        else:
            config = transformers.LlavaConfig(**read)
        # What was saved in float32 vLLM serves in bfloat16, unless it is told otherwise.
        element_bytes = 2 if dtype == "auto" else ELEMENT_BYTES[dtype]
        weights = None if published else checkpoint_files.weights_bytes(folder, element_bytes)
        return ModelSizes.of(config, element_bytes, weights)
    except (OSError, TypeError, AttributeError, ZeroDivisionError, StrictDataclassError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{folder / 'config.json'} cannot be read: {why}") from None


def _this_machine(values: Mapping[str, Any]) -> tuple[Device, bool]:
    """This machine's device, and whether it is a CPU."""
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415 - 7 s of imports

    memory_bytes = vllm_compat.device_bytes()
    if memory_bytes is not None:
        return cards.gpu(vllm_compat.current_platform.get_device_name(), memory_bytes), False
    workers = values.get("tensor_parallel_size", 1)
    return cards.cpu(vllm_compat.free_bytes(workers), workers), True


def _cpu_values(values: Mapping[str, Any], is_demo: bool) -> dict[str, Any]:
    """The options with this server's defaults for a CPU, and the room for KV blocks that the environment gives."""
    values = dict(values)
    if os.environ.get(KV_SPACE_VARIABLE):
        values["kv_cache_memory_bytes"] = int(os.environ[KV_SPACE_VARIABLE]) << 30
    if "gpu_memory_utilization" in values:
        raise ValueError(
            "--gpu-memory-utilization: on a CPU vLLM alone sizes by it, so that --dry-run cannot: leave it"
        )
    if is_demo:
        values.setdefault("kv_cache_memory_bytes", DEMO_KV_BYTES)
    if wants_float32(is_demo):
        values.setdefault("dtype", "float32")
    return values


def cells(plan: MemoryPlan) -> dict[str, str]:
    """The values of a plan by their names, as a line or a column shows them."""
    context = f"{plan.context:,}"
    return {
        "memory": f"{ESTIMATED} {gib(plan.device.memory_bytes)}",
        "left free": gib(plan.reserve_bytes),
        "weights": gib(plan.weights_bytes),
        "work of a step": f"{ESTIMATED} {gib(plan.working_bytes)}",
        "encoder cache": gib(plan.outputs_bytes),
        "KV blocks": f"{ESTIMATED} {plan.blocks:,} ({gib(plan.kv_bytes)})",
        "tokens": f"{ESTIMATED} {plan.tokens:,}",
        "unpooled visuals": f"{ESTIMATED} {plan.tokens // plan.patches:,}",
        "context": f"{ESTIMATED} {context}" if plan.context == plan.tokens else context,
        "tokens a step": f"{plan.device.tokens_a_step:,}",
        "visuals a step": f"{plan.visuals_a_step:,}",
    }


def table(models: Mapping[str, str], keys: Iterable[str] = CARDS) -> str:
    """The plans of cards, a Markdown table with a row for each card and model.

    models: names in the first column by MODEL.
    """
    rows = []
    for key in keys:
        for model, name in models.items():
            rows.append({"`--card`": f"`{key}`", "model": name, **cells(make_plan(model, CARDS[key], {}))})
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
