"""The arithmetic of what fits on a device, by hand and against vLLM's own defaults."""

from types import SimpleNamespace

import pytest
from vllm.config import CacheConfig
from vllm.engine import arg_utils
from vllm.usage.usage_lib import UsageContext

from llava_interleave_serve.server.engine import cards, memory_plan
from llava_interleave_serve.server.engine.memory_plan import ModelSizes

GIB = 2**30
VISION = SimpleNamespace(hidden_size=1152, intermediate_size=4304, num_hidden_layers=26, image_size=384, patch_size=14)
SMALL = (1024, 2816, 24, 16, True)
LARGE = (4096, 11_008, 32, 32, False)


def sizes(hidden: int, inner: int, layers: int, heads: int, tied: bool) -> ModelSizes:
    text = SimpleNamespace(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, tie_word_embeddings=tied, vocab_size=152_000, max_position_embeddings=32_768,
    )  # fmt: skip
    return ModelSizes.of(SimpleNamespace(text_config=text, vision_config=VISION), 2)


@pytest.mark.parametrize(("model", "published"), [(SMALL, 1.73), (LARGE, 4.98 + 4.92 + 4.95 + 1.43)])
def test_counted_weights_are_as_large_as_the_published_files(
    model: tuple[int, int, int, int, bool], published: float
) -> None:
    assert sizes(*model).weights_bytes / 1e9 == pytest.approx(published, abs=0.01)


def test_the_layer_that_the_authors_delete_is_not_counted() -> None:
    text = SimpleNamespace(hidden_size=1024)
    hub = SimpleNamespace(text_config=text, vision_config=VISION)
    counted = SimpleNamespace(**{**vars(VISION), "num_hidden_layers": 27})
    original = SimpleNamespace(text_config=text, vision_config=counted, visual_format=object())
    assert memory_plan.encoder_parameters(original) == memory_plan.encoder_parameters(hub)


@pytest.mark.parametrize(("model", "kib"), [(SMALL, 96), (LARGE, 512)])
def test_keys_and_values_of_a_token(model: tuple[int, int, int, int, bool], kib: int) -> None:
    assert sizes(*model).kv_elements * 2 == kib * 1024


def test_the_split_of_a_card_is_the_sum_of_its_parts() -> None:
    device, model = cards.CARDS["h100"], sizes(*LARGE)
    kept = memory_plan.outputs_bytes(model, device)
    assert kept == 64 * 729 * 4096 * 2
    plan = memory_plan.split(model, device, kept)
    parts = plan.reserve_bytes + plan.weights_bytes + plan.working_bytes + plan.outputs_bytes + plan.kv_bytes
    assert parts == device.memory_bytes
    assert plan.reserve_bytes == pytest.approx(0.08 * device.memory_bytes, rel=1e-6)
    step = 8112 * (3 * 11_008 + 4 * 4096) * 2 + 1024 * 152_000 * 10 + GIB // 2
    assert plan.working_bytes == step
    assert plan.tokens == plan.kv_bytes // (16 * 512 * 1024) * 16
    assert (plan.context, plan.visuals_a_step) == (32_768, 11)


def test_two_workers_halve_the_weights_and_the_blocks_and_keep_all_outputs() -> None:
    device, model = cards.CARDS["l4"], sizes(*LARGE)
    one, two = (memory_plan.split(model, device, GIB // 2, workers=workers) for workers in (1, 2))
    assert (two.weights_bytes, two.block_bytes) == (one.weights_bytes // 2, one.block_bytes // 2)
    assert two.outputs_bytes == one.outputs_bytes
    assert two.tokens > 4 * one.tokens


def test_workers_that_share_views_have_tower_and_projector_whole() -> None:
    model = sizes(*LARGE)
    split, shared = (
        memory_plan.split(model, cards.CARDS["h100"], 0, workers=4, shares_views=shares) for shares in (False, True)
    )
    assert shared.weights_bytes - split.weights_bytes == model.encoder_bytes * 3 // 4
    alone = memory_plan.split(model, cards.CARDS["h100"], 0, shares_views=True)
    assert alone.weights_bytes == model.weights_bytes


def test_a_model_that_does_not_fit_is_refused_with_what_takes_the_memory() -> None:
    with pytest.raises(ValueError, match=r"no room .* in 16\.00 GiB of memory: 1\.28 GiB are left free, and weights"):
        memory_plan.split(sizes(*LARGE), cards.gpu("T4", 16 * GIB), 0)


@pytest.mark.parametrize("key", cards.CARDS)
def test_a_cards_defaults_are_those_of_vllm_but_for_the_tokens_of_a_step(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = cards.CARDS[key]
    platform = SimpleNamespace(
        get_device_total_memory=lambda: card.memory_bytes,
        get_device_name=lambda: f"NVIDIA {card.name}",
        is_tpu=lambda: False,
        is_cpu=lambda: False,
    )
    monkeypatch.setattr(arg_utils, "current_platform", platform)
    tokens, sequences = arg_utils.EngineArgs.get_batch_defaults(1)
    usage = UsageContext.OPENAI_API_SERVER
    assert card.sequences == sequences[usage]
    # Never a shorter step than vLLM's, but for what whole visuals leave of it.
    small = card.memory_bytes < cards.SMALL_BYTES
    assert card.tokens_a_step == (4432 if small else max(8112, {16_384: 16_208}.get(tokens[usage], 0)))
    assert card.share == CacheConfig().gpu_memory_utilization
    assert card.block_size == CacheConfig.DEFAULT_BLOCK_SIZE


def test_a_cpus_defaults_are_those_of_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = SimpleNamespace(
        get_device_total_memory=lambda: GIB, get_device_name=lambda: "cpu", is_tpu=lambda: False, is_cpu=lambda: True
    )
    monkeypatch.setattr(arg_utils, "current_platform", platform)
    tokens, sequences = arg_utils.EngineArgs.get_batch_defaults(2)
    usage, device = UsageContext.OPENAI_API_SERVER, cards.cpu(GIB, 2)
    assert (device.tokens_a_step, device.sequences) == (tokens[usage], sequences[usage])
