"""The model's encoder half, tower and projector, in this process and without an engine or a language model."""

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlavaConfig
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import parallel_state
from vllm.model_executor.layers.linear import LinearBase
from vllm.model_executor.models.utils import AutoWeightsLoader
from vllm.utils.torch_utils import set_default_torch_dtype

from llava_interleave_serve.model_executor import packing, weight_names
from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from llava_interleave_serve.model_executor.projector import Projector
from llava_interleave_serve.model_executor.vision_tower import VisionTower
from llava_interleave_serve.model_executor.visual import Pooling, Visual

QKV = re.compile(r"\b[qkv]_proj\b")  # vLLM keeps the three in one parameter


@contextlib.contextmanager
def one_rank() -> Iterator[None]:
    """vLLM's groups of one process, which its layers ask for their size."""
    with tempfile.TemporaryDirectory() as folder, set_current_vllm_config(VllmConfig()), rank_of(0, 1, Path(folder)):
        yield


@contextlib.contextmanager
def rank_of(rank: int, workers: int, folder: Path) -> Iterator[None]:
    """This process as one of so many tensor parallel ranks, which meet in a folder."""
    parallel_state.init_distributed_environment(workers, rank, f"file://{folder / 'rendezvous'}", 0, "gloo")
    parallel_state.initialize_model_parallel(workers)
    try:
        yield
    finally:
        parallel_state.destroy_model_parallel()
        parallel_state.destroy_distributed_environment()


def make(config: LlavaConfig, dtype: torch.dtype, device: str = "cpu") -> LlavaInterleaveForConditionalGeneration:
    """Makes the encoder half with weights of its own initialisation; call it within `one_rank`."""
    model = LlavaInterleaveForConditionalGeneration.__new__(LlavaInterleaveForConditionalGeneration)
    nn.Module.__init__(model)
    model.config, model.image_newline = config, None
    with set_default_torch_dtype(dtype), torch.device(device):
        model.vision_tower = VisionTower(config, {}, None, "vision_tower")
        model.multi_modal_projector = Projector(config, None, "multi_modal_projector")
    model.eval()
    return model


def load(model: LlavaInterleaveForConditionalGeneration, checkpoint: Path) -> None:
    """Loads the weights of tower and projector from a checkpoint's only file."""
    tensors = load_file(checkpoint / "model.safetensors")
    ours = weight_names.MAPPER.apply((name, tensor.float()) for name, tensor in tensors.items())
    has = {name for name, _ in model.named_parameters()}
    used = ((name, tensor) for name, tensor in ours if QKV.sub("qkv_proj", name) in has)
    AutoWeightsLoader(model).load_weights(used)
    for module in model.modules():
        if isinstance(module, LinearBase):
            module.quant_method.process_weights_after_loading(module)


def packings(poolings: Sequence[Pooling]) -> torch.Tensor:
    """The model's `packings` of single views with these poolings: int64 [n, p]."""
    view = np.zeros((1, 1, 1, 3), np.uint8)
    return torch.tensor([packing.encode(Visual(view, pooling)) for pooling in poolings])


class PeakBytes(TorchDispatchMode):  # type: ignore[misc]  # torch is not typed here
    """Measures the most bytes alive at once of what operators allocate while the mode is on.

    Tensors of the meta device have the real sizes, and nothing is allocated for them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self._bytes = 0  # of the storages in `_alive`, some of which may have been freed

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage._cdata in given:
                continue
            if storage._cdata in self._alive:  # the address of one that was freed
                self._bytes -= self._alive[storage._cdata][1]
            self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
            self._bytes += storage.nbytes()
        if self._bytes > self.peak:
            self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
            self._bytes = sum(size for _, size in self._alive.values())
            self.peak = max(self.peak, self._bytes)
        return result


def _tensors(tree: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
