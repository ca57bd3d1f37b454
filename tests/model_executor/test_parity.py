"""The model in vLLM equals transformers' LlavaForConditionalGeneration in float32, given the same pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from llava_interleave_serve.demo import tokenizer
from llava_interleave_serve.kernels.reference import pool
from llava_interleave_serve.model_executor.visual import UNPOOLED, Pooling
from tests.support import checkpoints
from tests.support.checkpoints import GRID, IMAGE_SIZE, PATCHES
from tests.support.engine_job import EngineFailed, Job, Result, run

pytestmark = pytest.mark.engine
TOKENISER = tokenizer.load_or_train(checkpoints.DEMO)
IMAGE = TOKENISER.convert_tokens_to_ids("<image>")
# Texts around the images, one more than there are images; some are empty.
TEXTS = {
    1: ["Look: ", " What is this?"],
    3: ["", "\nand\n", "", "How many?"],
    8: ["First ", "\n", "\n", " then ", "", "\n", "and ", "\n", "Which image shows a red circle?"],
}


def job(images: int, poolings: list[Pooling] | None = None) -> Job:
    token_ids = TOKENISER.encode("<|im_start|>user\n")
    for index, text in enumerate(TEXTS[images]):
        token_ids += TOKENISER.encode(text) if text else []
        token_ids += [IMAGE] if index < images else []
    token_ids += TOKENISER.encode("<|im_end|>\n<|im_start|>assistant\n")
    views = np.random.default_rng(images).integers(0, 256, (images, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    return Job(token_ids, views, poolings or [])


JOBS = [job(images) for images in TEXTS]
POOLED = job(3, [Pooling("bilinear", 2), Pooling(), Pooling("max", 3)])


def pixel_values(views: np.ndarray) -> torch.Tensor:
    return ((torch.from_numpy(views).double() / 255 - 0.5) / 0.5).float().permute(0, 3, 1, 2)


def tower_by_hand(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """SigLIP up to its last layer, without post_layernorm, written out from its paper: float32 [n, patches, hidden]."""
    config = model.config.vision_config
    state = {
        name.rpartition("vision_tower.")[2]: value for name, value in model.state_dict().items() if "vision" in name
    }
    patch, heads, width = config.patch_size, config.num_attention_heads, config.hidden_size
    side = config.image_size // patch
    patches = pixels[:, :, : side * patch, : side * patch].unfold(2, patch, patch).unfold(3, patch, patch)
    patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    hidden = (
        patches @ state["embeddings.patch_embedding.weight"].flatten(1).T + state["embeddings.patch_embedding.bias"]
    )
    hidden = hidden + state["embeddings.position_embedding.weight"]

    def linear(values: torch.Tensor, name: str) -> torch.Tensor:
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(values: torch.Tensor, name: str) -> torch.Tensor:
        centred = values - values.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + config.layer_norm_eps).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def split(values: torch.Tensor) -> torch.Tensor:
        return values.unflatten(-1, (heads, width // heads)).transpose(1, 2)

    for number in range(config.num_hidden_layers):
        layer = f"encoder.layers.{number}"
        normed = norm(hidden, f"{layer}.layer_norm1")
        query, key, value = (split(linear(normed, f"{layer}.self_attn.{name}_proj")) for name in "qkv")
        weights = (query @ key.mT / (width // heads) ** 0.5).softmax(-1)
        hidden = hidden + linear((weights @ value).transpose(1, 2).flatten(2), f"{layer}.self_attn.out_proj")
        inner = functional.gelu(linear(norm(hidden, f"{layer}.layer_norm2"), f"{layer}.mlp.fc1"), approximate="tanh")
        hidden = hidden + linear(inner, f"{layer}.mlp.fc2")
    return hidden


class Reference:
    """transformers' model, and the same with the tower written by hand and visuals pooled."""

    def __init__(self, checkpoint: Path, dtype: torch.dtype = torch.float32) -> None:
        self.model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype).eval()

    @torch.no_grad()
    def logprobs(self, token_ids: list[int], views: np.ndarray) -> torch.Tensor:
        pixels = pixel_values(views).to(self.model.dtype)
        logits = self.model(input_ids=torch.tensor([token_ids]), pixel_values=pixels).logits
        return logits[0, :-1].float().log_softmax(-1)

    @torch.no_grad()
    def logprobs_by_hand(self, token_ids: list[int], views: np.ndarray, poolings: list[Pooling]) -> torch.Tensor:
        projected = self.model.model.multi_modal_projector(tower_by_hand(self.model, pixel_values(views)))
        rows = torch.cat(
            [
                pool(visual[None], pooling.mode, pooling.stride)[0]
                for visual, pooling in zip(projected, poolings, strict=True)
            ]
        )
        ids = torch.tensor([token_ids])
        embeddings = self.model.get_input_embeddings()(ids)
        embeddings[ids == self.model.config.image_token_index] = rows
        hidden = self.model.model.language_model(inputs_embeds=embeddings).last_hidden_state
        return self.model.lm_head(hidden)[0, :-1].log_softmax(-1)

    @torch.no_grad()
    def greedy(self, token_ids: list[int], views: np.ndarray, number: int) -> list[int]:
        ids = torch.tensor([token_ids])
        out = self.model.generate(
            input_ids=ids, pixel_values=pixel_values(views), attention_mask=torch.ones_like(ids), do_sample=False,
            max_new_tokens=number, min_new_tokens=number, eos_token_id=None,
        )  # fmt: skip
        return out[0, ids.shape[1] :].tolist()


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """At every position and for every token within 1e-3 of the largest log-probability's size."""
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-3 * expected.abs().max()


@pytest.fixture(scope="module")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.write(tmp_path_factory.mktemp("random"), seed=1)


@pytest.fixture(scope="module", params=["demo", "random"])
def served(request: pytest.FixtureRequest, random_checkpoint: Path) -> tuple[Reference, list[Result]]:
    checkpoint = checkpoints.DEMO if request.param == "demo" else random_checkpoint
    return Reference(checkpoint), run(checkpoint, [*JOBS, POOLED])


class TestParity:
    @pytest.mark.parametrize("index", range(len(JOBS)), ids=[f"{len(job.views)} images" for job in JOBS])
    def test_logits_at_every_position_equal_those_of_transformers(
        self, served: tuple[Reference, list[Result]], index: int
    ) -> None:
        reference, results = served
        result, expected = results[index], JOBS[index]
        assert result.prompt_token_ids.count(IMAGE) == len(expected.views) * PATCHES
        assert_close(result.logprobs, reference.logprobs(result.prompt_token_ids, expected.views))

    @pytest.mark.parametrize("index", range(len(JOBS)), ids=[f"{len(job.views)} images" for job in JOBS])
    def test_32_greedy_tokens_equal_those_of_transformers(
        self, served: tuple[Reference, list[Result]], index: int
    ) -> None:
        reference, results = served
        expected = reference.greedy(results[index].prompt_token_ids, JOBS[index].views, 32)
        assert results[index].new_token_ids == expected

    def test_visuals_with_different_poolings_are_read_in_their_places(
        self, served: tuple[Reference, list[Result]]
    ) -> None:
        reference, results = served
        ids = results[-1].prompt_token_ids
        assert ids.count(IMAGE) == sum(pooling.side(GRID) ** 2 for pooling in POOLED.poolings)
        assert_close(results[-1].logprobs, reference.logprobs_by_hand(ids, POOLED.views, POOLED.poolings))

    def test_the_tower_ends_before_post_layernorm(self, served: tuple[Reference, list[Result]]) -> None:
        reference, results = served
        ids, views = results[1].prompt_token_ids, JOBS[1].views
        assert_close(results[1].logprobs, reference.logprobs_by_hand(ids, views, [UNPOOLED] * 3))


def test_the_error_in_bfloat16_is_as_small_as_that_of_transformers(tmp_path: Path) -> None:
    """With visuals of so many patches that the tower's layers on CPUs are ours."""
    checkpoint = checkpoints.write(tmp_path, image_size=272)  # 17x17 patches
    views = np.random.default_rng(5).integers(0, 256, (3, 272, 272, 3), dtype=np.uint8)
    (result,) = run(checkpoint, [Job(JOBS[1].token_ids, views)], dtype="bfloat16")
    exact = Reference(checkpoint).logprobs(result.prompt_token_ids, views)
    theirs = Reference(checkpoint, torch.bfloat16).logprobs(result.prompt_token_ids, views)
    assert (result.logprobs - exact).norm() <= 1.3 * (theirs - exact).norm()


class TestLoading:
    @pytest.mark.parametrize("spelling", ["before 4.52", "after 4.52"])
    def test_both_spellings_of_weight_names_load_to_the_same_model(
        self, random_checkpoint: Path, tmp_path: Path, spelling: str
    ) -> None:
        (result,) = run(checkpoints.write(tmp_path, seed=1, spelling=spelling), [JOBS[0]])
        reference = Reference(random_checkpoint)
        assert_close(result.logprobs, reference.logprobs(result.prompt_token_ids, JOBS[0].views))

    @pytest.mark.parametrize(
        ("edit", "name"),
        [
            (lambda tensors: tensors.pop("multi_modal_projector.linear_2.bias"), "multi_modal_projector.linear_2.bias"),
            (lambda tensors: tensors.update({"vision_tower.encoder.extra": torch.zeros(2)}), "extra"),
        ],
        ids=["missing", "unexpected"],
    )
    def test_a_wrong_weight_is_named(self, tmp_path: Path, edit: Callable[..., None], name: str) -> None:
        with pytest.raises(EngineFailed, match=name):
            run(checkpoints.write(tmp_path, edit=edit), [JOBS[0]])

    def test_a_head_size_without_an_attention_kernel_on_the_cpu_is_refused_with_a_reason(self, tmp_path: Path) -> None:
        with pytest.raises(EngineFailed, match="heads have size 16, but this platform's attention only has 32"):
            run(checkpoints.write(tmp_path, head_size=16), [JOBS[0]])
