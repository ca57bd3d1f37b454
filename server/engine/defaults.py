"""Defaults of vLLM's engine for this server, where the operator has chosen nothing."""

import os
import shutil
from pathlib import Path
from typing import Any

from llava_interleave_serve.model_executor.parent_death import announce_parent
from llava_interleave_serve.server.engine import cards

ARCHITECTURE = "LlavaInterleaveForConditionalGeneration"
ENCODER_CACHE = "llava_interleave_serve.model_executor.encoder_cache.VisualCache"
PIPELINE_WORKER = "llava_interleave_serve.model_executor.cpu.pipeline_worker.PipelineWorker"
FAIR_SCHEDULER = "llava_interleave_serve.model_executor.cpu.fair_scheduler.FairScheduler"
LOG_LEVEL_VARIABLE = "VLLM_LOGGING_LEVEL"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where vLLM's workers exchange messages
DEMO_KV_BYTES = 1 << 30  # on a CPU, 139,810 tokens of the demo
LEAST_MODE = 2  # of vLLM's compilation modes that compile a layer which asks for it
MEMORY_OPTIONS = {"gpu_memory_utilization", "kv_cache_memory_bytes"}  # by which the operator sizes the memory
STEP_OPTIONS = {"max_num_batched_tokens", "performance_mode", "enable_chunked_prefill"}  # that size a step
SHARED_MEMORY_BYTES = 512 << 20  # that several workers need: vLLM's ring of messages has 160 MiB, and NCCL its own


def set_engine_defaults(
    args: Any,
    given: set[str],
    *,
    name: str,
    max_visuals: int,
    is_demo: bool,
    encoder_cache: dict[str, int],
    adapters: int = 0,
    isolates_keys: bool = False,
) -> None:
    """Sets what the operator left open in vLLM's AsyncEngineArgs.

    given: names of the arguments that the operator gave. name: under which the model is served. max_visuals: of one
    request. encoder_cache: options of `model_executor.encoder_cache.VisualCache`. adapters: the number of LoRA
    adapters. isolates_keys: True if requests of different API keys have different cache salts.

    Raises ValueError for a tower that is to be compiled in eager mode.
    """
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415 - 7 s of imports

    args.served_model_name = [name]
    overrides = args.hf_overrides if isinstance(args.hf_overrides, dict) else {}
    args.hf_overrides = {"architectures": [ARCHITECTURE], **overrides}
    # The tower's batches are bounded, so that there is nothing to profile; plain vLLM's videos are never used.
    args.limit_mm_per_prompt = {"image": max_visuals, "video": 0}
    if "ec_manager_config" not in given:
        args.ec_manager_config = vllm_compat.EncoderCacheManagerConfig(
            encoder_cache_manager_cls=ENCODER_CACHE, manager_config=encoder_cache
        )
    _set_adapter_defaults(args, given, adapters)
    compiles_tower = args.compilation_config.compile_mm_encoder
    if "skip_mm_profiling" not in given:
        args.skip_mm_profiling = not compiles_tower  # which vLLM would else do at the first request
    if "load_format" not in given:
        args.load_format = "safetensors"  # never a pickle, whatever else the checkpoint holds
    if "structured_outputs_config" not in given:
        # Where white space is allowed between tokens, a model may write nothing else until its budget ends.
        args.structured_outputs_config = vllm_compat.compact_json()
    if "use_tqdm_on_load" not in given and logs_errors_only():
        args.use_tqdm_on_load = False
    is_single = args.tensor_parallel_size == args.pipeline_parallel_size == args.data_parallel_size == 1
    if is_single and "distributed_executor_backend" not in given:
        args.distributed_executor_backend = "uni"  # saves a process, and with it a start
    if vllm_compat.current_platform.is_cpu():
        _set_cpu_defaults(args, given, is_demo=is_demo, isolates_keys=isolates_keys)
    else:
        _set_gpu_defaults(args, given)
    if compiles_tower:
        _check_compilation(args)
    if "max_model_len" not in given:
        args.max_model_len = -1  # the longest context that fits: one of the 7B's takes 16 GiB of KV blocks


def _check_compilation(args: Any) -> None:
    """Raises ValueError where vLLM would compile nothing."""
    if args.enforce_eager:
        raise ValueError(
            "compile_mm_encoder compiles nothing in eager mode, which is the default on a CPU: give --no-enforce-eager"
        )
    mode = args.compilation_config.mode
    if int(args.optimization_level) == 0 if mode is None else mode < LEAST_MODE:
        raise ValueError("compile_mm_encoder compiles nothing in this compilation mode, or at -O0")


def logs_errors_only() -> bool:
    """True if vLLM is to log nothing but errors."""
    return os.environ.get(LOG_LEVEL_VARIABLE, "").upper() == "ERROR"


def wants_float32(is_demo: bool) -> bool:
    """True if the model is served in float32 by default on this machine's CPU."""
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415

    return is_demo or not vllm_compat.has_bfloat16()


def _set_adapter_defaults(args: Any, given: set[str], adapters: int) -> None:
    if not adapters:
        return
    args.enable_lora = True
    if "max_loras" not in given:
        args.max_loras = adapters  # in one batch; with fewer, requests for the others wait
    if "max_cpu_loras" not in given:
        # All are kept, so that none is read again from its folder, for which every request would wait.
        args.max_cpu_loras = max(adapters, args.max_loras)


def _set_cpu_defaults(args: Any, given: set[str], *, is_demo: bool, isolates_keys: bool) -> None:
    if "enable_mm_processor_stats" not in given:
        args.enable_mm_processor_stats = True  # costs nothing here; on a GPU it waits for the device
    if "enforce_eager" not in given:
        args.enforce_eager = True  # compilation costs minutes on a CPU
    if args.pipeline_parallel_size > 1 and "worker_cls" not in given:
        args.worker_cls = PIPELINE_WORKER
    if isolates_keys and "scheduler_cls" not in given:
        args.scheduler_cls = FAIR_SCHEDULER
    if is_demo and given.isdisjoint(MEMORY_OPTIONS):
        args.kv_cache_memory_bytes = DEMO_KV_BYTES
    if "dtype" not in given and wants_float32(is_demo):
        args.dtype = "float32"


def _set_gpu_defaults(args: Any, given: set[str]) -> None:
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415

    if given.isdisjoint(STEP_OPTIONS):
        platform = vllm_compat.current_platform
        args.max_num_batched_tokens = cards.gpu(
            platform.get_device_name(), int(platform.get_device_total_memory())
        ).tokens_a_step
    if "compilation_config" not in given and not args.enforce_eager:
        args.compilation_config.cudagraph_mm_encoder = True  # a call of few views takes as long as its launches
    if "mm_encoder_tp_mode" not in given and args.tensor_parallel_size > 1:
        # Split over 4 or 8 ranks the tower's layers are 1,076 or 538 wide, with 53 reductions over all ranks a call.
        args.mm_encoder_tp_mode = "data"


def check_shared_memory(workers: int) -> None:
    """Raises ValueError if there is too little shared memory for several workers: Docker gives 64 MiB by default."""
    if workers == 1:
        return
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else SHARED_MEMORY_BYTES
    if free < SHARED_MEMORY_BYTES:
        raise ValueError(
            f"{workers} workers need {SHARED_MEMORY_BYTES >> 20} MiB of shared memory, but {SHARED_MEMORY} has "
            f"{free >> 20} MiB free: give the container --ipc=host or --shm-size=1g"
        )


def check_driver() -> None:
    """Raises ValueError if the GPU's driver is too old for torch: its first call of CUDA would fail, far from here."""
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415

    versions = vllm_compat.cuda_versions()
    if versions is not None and versions[1] < versions[0]:
        raise ValueError(
            f"the GPU's driver is made for CUDA {versions[1]}, but torch for CUDA {versions[0]}: update the driver"
        )


def prepare_environment(enforce_eager: bool) -> None:
    """Sets environment variables that vLLM reads; what the operator has set stays."""
    announce_parent()
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if logs_errors_only():
        # Warnings of the libraries below vLLM, which do not know its level.
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if enforce_eager:
        # vLLM compiles small helpers (of logprobs, say) even in eager mode, 3 to 25 s on a CPU while nobody is served.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415 - reads the variables above

    # The engine's processes are forked on CUDA, unless told so, and this process has threads, whose locks stay locked.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    if vllm_compat.current_platform.is_cpu():
        # vLLM gives a model that needs one process two of them, unless told so; AsyncLLM keeps one all the same.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
