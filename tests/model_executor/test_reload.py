"""Sleep at vLLM's level 2, which discards the memory of the weights, and loading of the weights anew."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from transformers import LlavaConfig
from vllm.model_executor.model_loader.reload import inplace, record_metadata_for_reloading
from vllm.v1.worker import gpu_worker

from llava_interleave_serve.model_executor.model import LlavaInterleaveForConditionalGeneration
from tests.support import checkpoints, encoder_half
from tests.support.checkpoints import IMAGE_SIZE

PATCH_EMBEDDING = "vision_tower.vision_model.embeddings.patch_embedding.weight"
VIEWS = torch.arange(2 * IMAGE_SIZE**2 * 3).remainder(256).to(torch.uint8).reshape(2, IMAGE_SIZE, IMAGE_SIZE, 3)


def discard(model: torch.nn.Module) -> None:
    """Overwrites every tensor that a module has made, as memory that another process had meanwhile."""
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
            if isinstance(tensor, torch.Tensor):
                tensor.data.fill_(7)


@pytest.fixture
def model(on_a_gpu: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LlavaInterleaveForConditionalGeneration]:
    """The demo's encoder half in bfloat16, as on a GPU, where weights stay as they were loaded."""
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: None)
    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda: (0, 0))
    with encoder_half.one_rank():
        model = encoder_half.make(LlavaConfig.from_pretrained(checkpoints.DEMO), torch.bfloat16)
        model.quantised = False
        record_metadata_for_reloading(model)
        random = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1, generator=random)
        yield model


def sleep_and_wake(model: torch.nn.Module) -> None:
    """vLLM's own sleep and waking of a GPU's worker, over this model."""
    worker = SimpleNamespace(
        model_runner=SimpleNamespace(model=model),
        sleep_mode_backend=SimpleNamespace(suspend=lambda _: discard(model), resume=lambda _: None),
        vllm_config=SimpleNamespace(model_config=SimpleNamespace(enable_nccl_comm_suspend=False)),
        get_draft_model=lambda: None,
        synchronize_device=lambda: None,
        _save_sleep_parameters=lambda _: None,
        _sleep_saved_parameters={},
        _sleep_saved_buffers={},
        _sleep_saved_draft_buffers={},
    )
    gpu_worker.Worker.sleep(worker, 2)
    gpu_worker.Worker.wake_up(worker)


@torch.inference_mode()
def encoded(model: LlavaInterleaveForConditionalGeneration) -> torch.Tensor:
    rows: torch.Tensor = model.vision_tower(VIEWS)
    return rows.clone()


def test_after_sleep_and_weights_loaded_anew_a_picture_is_what_it_was(
    model: LlavaInterleaveForConditionalGeneration,
) -> None:
    before = encoded(model)
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    # As a checkpoint has it: the patch embedding is a convolution's weight.
    patch = model.vision_tower.vision_model.embeddings.patch_embedding
    laid_out = weights[PATCH_EMBEDDING][:, : 3 * patch.side**2]
    weights[PATCH_EMBEDDING] = laid_out.unflatten(1, (patch.side, patch.side, 3)).permute(0, 3, 1, 2)
    sleep_and_wake(model)
    config = SimpleNamespace(
        model_config=SimpleNamespace(quantization=None, dtype=torch.bfloat16), load_config=None, lora_config=None
    )
    inplace.reload_weights(config, model, iter(weights.items()), None, is_checkpoint_format=True)
    assert torch.equal(encoded(model), before)


def test_normalisation_stays_in_float32_and_out_of_the_checkpoint(
    model: LlavaInterleaveForConditionalGeneration,
) -> None:
    assert {buffer.dtype for buffer in model.vision_tower.buffers(recurse=False)} == {torch.float32}
    assert len(list(model.vision_tower.buffers(recurse=False))) == 2
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
