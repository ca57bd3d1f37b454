"""How many visuals are encoded a step and kept, with vLLM's scheduler played by hand."""

from types import SimpleNamespace
from typing import Any

import pytest

from llava_interleave_serve.model_executor import vllm_compat
from llava_interleave_serve.model_executor.encoder_cache import KEPT, VisualCache

TOKENS = 2048  # of a step, and so vLLM's own size of the cache


def manager(image_size: int = 384, patch_size: int = 14, **told: int) -> VisualCache:
    vision = SimpleNamespace(image_size=image_size, patch_size=patch_size)
    config = SimpleNamespace(
        ec_manager_config=SimpleNamespace(manager_config=told),
        model_config=SimpleNamespace(hf_config=SimpleNamespace(vision_config=vision)),
    )
    return VisualCache.create_manager(cache_size=TOKENS, vllm_config=config)


def request(name: str, visuals: int, embeds: int) -> Any:
    features = [SimpleNamespace(identifier=f"{name} {at}") for at in range(visuals)]
    return SimpleNamespace(request_id=name, mm_features=features, get_num_encoder_embeds=lambda _: embeds)


def step(cache: VisualCache, *asking: Any) -> list[int] | list[list[int]]:
    """Which visuals of each request are encoded in the next step, as the scheduler asks for them."""
    found, budget = [], TOKENS
    for each in asking:
        done: list[int] = []
        embeds = each.get_num_encoder_embeds(0)
        for at in range(len(each.mm_features)):
            if cache.check_and_update_cache(each, at):
                continue
            if not cache.can_allocate(each, at, budget, embeds * len(done)):
                break
            done.append(at)
            budget -= embeds
        for at in done:
            cache.allocate(each, at)
        found.append(done)
    return found if len(found) > 1 else found[0]


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", SimpleNamespace(is_cpu=lambda: True))


@pytest.mark.parametrize("embeds", [729, 196])
def test_a_step_on_a_cpu_encodes_one_visual_pooled_or_not(embeds: int) -> None:
    cache, asking = manager(), request("a", 3, embeds)
    assert [step(cache, asking) for _ in range(4)] == [[0], [1], [2], []]


def test_requests_of_one_step_share_what_it_encodes() -> None:
    cache, first, second = manager(visuals_a_step=2), request("a", 3, 196), request("b", 2, 196)
    assert [step(cache, first, second) for _ in range(3)] == [[[0, 1], []], [[2], [0]], [[], [1]]]


def test_small_visuals_are_encoded_together() -> None:
    assert step(manager(112, 16), request("a", 64, 49)) == list(range(20))


def test_a_step_on_a_gpu_encodes_what_its_tokens_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", SimpleNamespace(is_cpu=lambda: False))
    assert step(manager(), request("a", 16, 196)) == list(range(10))
    assert step(manager(visuals_a_step=4), request("a", 16, 196)) == list(range(4))


def test_outputs_are_kept_until_others_need_their_room_the_oldest_first() -> None:
    cache = manager(visuals_a_step=100, visuals_kept=4)
    for name in "ab":
        asking = request(name, 2, 729)
        assert step(cache, asking) == [0, 1]
        cache.free(asking)
    assert step(cache, request("a", 2, 729)) == []
    cache.free(request("a", 2, 729))
    assert step(cache, request("c", 2, 729)) == [0, 1]
    assert step(cache, request("a", 2, 729)) == []
    assert step(cache, request("b", 2, 729)) == []  # no room: those of a and c are in use
    assert "b 0" not in cache.cached


def test_by_default_so_many_visuals_are_kept() -> None:
    assert manager().cache_size == KEPT * 729
    assert manager(112, 16, visuals_kept=1).cache_size == TOKENS  # never less than vLLM's own


@pytest.mark.parametrize("told", [{"visuals": 3}, {"visuals_kept": 0}, {"visuals_a_step": -1}])
def test_what_it_cannot_be_told_is_refused(told: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="visuals_kept and visuals_a_step"):
        manager(**told)
