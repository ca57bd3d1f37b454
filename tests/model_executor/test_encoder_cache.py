"""The visual cache bounds the visuals encoded in a step and the outputs kept; `step` stands for vLLM's scheduler."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.v1.request import RequestStatus

from llava_interleave_serve.model_executor import visual_counters, vllm_compat
from llava_interleave_serve.model_executor.encoder_cache import VisualCache
from llava_interleave_serve.model_executor.encoder_limits import VISUALS_KEPT

WIDTH = 1024
TOKENS = 2048  # a step's budget, and so vLLM's own size of the cache


def manager(image_size: int = 384, patch_size: int = 14, rank: int = 0, **options: int | str) -> VisualCache:
    vision = SimpleNamespace(image_size=image_size, patch_size=patch_size)
    text = SimpleNamespace(hidden_size=WIDTH)
    config = SimpleNamespace(
        ec_manager_config=SimpleNamespace(manager_config=options),
        model_config=SimpleNamespace(
            hf_config=SimpleNamespace(vision_config=vision, text_config=text), dtype=torch.bfloat16
        ),
        parallel_config=SimpleNamespace(data_parallel_index=rank),
        scheduler_config=SimpleNamespace(max_num_batched_tokens=TOKENS),
    )
    return VisualCache.create_manager(cache_size=TOKENS, vllm_config=config)


def request(name: str, visuals: int, embeds: int, views: int | None = None) -> Any:
    """views: of each visual; None where the scheduler's process does not have the pixels."""
    data = None if views is None else {"views": SimpleNamespace(data=[None] * views)}
    features = [SimpleNamespace(identifier=f"{name} {index}", data=data) for index in range(visuals)]
    return SimpleNamespace(
        request_id=name,
        status=RequestStatus.RUNNING,
        mm_features=features,
        get_num_encoder_embeds=lambda _: embeds,
    )


def step(cache: VisualCache, *requests: Any) -> list[int] | list[list[int]]:
    """The indices of the visuals of each request that are encoded in the next step; one list for one request."""
    encoded_by_request, budget = [], TOKENS
    for each in requests:
        encoded: list[int] = []
        embeds = each.get_num_encoder_embeds(0)
        for index in range(len(each.mm_features)):
            if cache.check_and_update_cache(each, index):
                continue
            if not cache.can_allocate(each, index, budget, embeds * len(encoded)):
                break
            encoded.append(index)
            budget -= embeds
        for index in encoded:
            cache.allocate(each, index)
        encoded_by_request.append(encoded)
    cache.get_freed_mm_hashes()
    return encoded_by_request if len(encoded_by_request) > 1 else encoded_by_request[0]


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_compat, "current_platform", SimpleNamespace(is_cpu=lambda: True))


@pytest.mark.parametrize("embeds", [729, 196])
def test_a_step_on_a_cpu_encodes_one_visual_whether_pooled_or_not(embeds: int) -> None:
    cache, visuals = manager(), request("a", 3, embeds)
    assert [step(cache, visuals) for _ in range(4)] == [[0], [1], [2], []]


def test_requests_of_one_step_share_its_encoder_budget() -> None:
    cache, first, second = manager(visuals_a_step=2), request("a", 3, 196), request("b", 2, 196)
    assert [step(cache, first, second) for _ in range(3)] == [[[0, 1], []], [[2], [0]], [[], [1]]]


@pytest.mark.parametrize("visuals_a_step", [1, 2, 3])
def test_a_waiting_request_that_was_refused_is_given_a_visual_of_the_next_step(visuals_a_step: int) -> None:
    cache, running, waiting = manager(visuals_a_step=visuals_a_step), request("a", 9, 36), request("b", 1, 36)
    waiting.status = RequestStatus.WAITING
    all_of_it = list(range(visuals_a_step))
    assert step(cache, running, waiting) == [all_of_it, []]
    assert step(cache, running, waiting) == [[number + visuals_a_step for number in all_of_it[:-1]], [0]]
    running_alone = step(cache, running)
    assert len(running_alone) == visuals_a_step


def test_a_promise_to_a_request_that_left_is_kept_for_one_step() -> None:
    cache, running, waiting = manager(), request("a", 9, 729), request("b", 1, 729)
    waiting.status = RequestStatus.WAITING
    assert step(cache, running, waiting) == [[0], []]
    assert [step(cache, running) for _ in range(3)] == [[], [1], [2]]


def test_a_visual_of_more_views_than_a_step_has_is_encoded_in_a_step_of_its_own() -> None:
    cache, pictures, frames = manager(), request("a", 2, 1800, views=5), request("b", 2, 196, views=1)
    assert [step(cache, pictures, frames) for _ in range(2)] == [[[0], []], [[1], []]]
    assert step(cache, frames, request("c", 1, 1800, views=5)) == [[0], []]
    assert step(cache, frames) == [1]


@pytest.mark.parametrize(("views", "rows"), [(5, 1513), (None, 1513)])
def test_the_views_of_a_step_are_counted_and_not_its_visuals(views: int | None, rows: int) -> None:
    cache = manager(visuals_a_step=6)
    pictures, frames = request("a", 2, rows, views=views), request("b", 9, 36, views=1)
    beside = 6 - (views or 3)  # without the pixels, as many as the rows fill
    assert step(cache, pictures, frames) == [[0], list(range(beside))]
    assert step(cache, pictures, frames) == [[1], list(range(beside, 2 * beside))]


def test_a_waiting_request_is_promised_all_views_of_its_visual() -> None:
    cache = manager(visuals_a_step=3)
    running, waiting = request("a", 9, 36, views=1), request("b", 1, 1800, views=5)
    waiting.status = RequestStatus.WAITING
    assert step(cache, running, waiting) == [[0, 1, 2], []]
    assert step(cache, running, waiting) == [[], [0]]
    assert step(cache, running) == [3, 4, 5]


def test_several_small_visuals_are_encoded_in_one_step() -> None:
    assert step(manager(112, 16), request("a", 64, 49)) == list(range(20))


@pytest.mark.parametrize("embeds", [729, 196, 36])
@pytest.mark.usefixtures("on_a_gpu")
def test_a_step_on_a_gpu_encodes_as_many_visuals_as_its_tokens_hold_unpooled(embeds: int) -> None:
    assert step(manager(), request("a", 16, embeds)) == [0, 1]
    assert step(manager(visuals_a_step=4), request("a", 16, min(embeds, 196))) == list(range(4))


def test_the_oldest_encoder_outputs_are_evicted_for_new_ones() -> None:
    cache = manager(visuals_a_step=100, visuals_kept=4)
    for name in "ab":
        visuals = request(name, 2, 729)
        assert step(cache, visuals) == [0, 1]
        cache.free(visuals)
    assert step(cache, request("a", 2, 729)) == []
    cache.free(request("a", 2, 729))
    assert step(cache, request("c", 2, 729)) == [0, 1]
    assert step(cache, request("a", 2, 729)) == []
    assert step(cache, request("b", 2, 729)) == []  # no room: those of a and c are in use
    assert "b 0" not in cache.cached


def test_the_default_number_of_encoder_outputs_is_kept() -> None:
    assert manager().cache_size == VISUALS_KEPT * 729
    assert manager(112, 16, visuals_kept=1).cache_size == TOKENS  # never less than vLLM's own


@pytest.mark.parametrize("options", [{"visuals": 3}, {"visuals_kept": 0}, {"visuals_a_step": -1}])
def test_the_visual_cache_refuses_unknown_options_and_numbers_below_one(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="visuals_kept and visuals_a_step"):
        manager(**options)


@pytest.fixture
def counters() -> Iterator[Path]:
    path = visual_counters.create()
    yield path
    path.unlink()


def totals(path: Path) -> dict[str, int]:
    return visual_counters.totals(visual_counters.open_lines(path))


def test_hits_misses_evictions_and_bytes_are_counted_in_the_file_of_the_front_end(counters: Path) -> None:
    cache = manager(visuals_a_step=2, visuals_kept=4, counters=str(counters))
    first, again = request("a", 2, 729), request("a", 2, 729)
    again.request_id = "again"
    assert step(cache, first) == [0, 1]
    assert totals(counters) == {
        "hits": 0, "misses": 2, "evictions": 0, "bytes": 2 * 729 * WIDTH * 2,
    }  # fmt: skip
    step(cache, first)  # a visual that is cut by steps is asked for again
    assert step(cache, again) == []
    assert totals(counters)["hits"] == 2
    for each in (first, again):
        cache.free(each)
    assert step(cache, request("b", 2, 729)) == [0, 1]
    assert step(cache, request("c", 2, 196)) == [0, 1]
    assert totals(counters) == {
        "hits": 2, "misses": 6, "evictions": 1, "bytes": (3 * 729 + 2 * 196) * WIDTH * 2,
    }  # fmt: skip


def test_data_parallel_ranks_count_on_lines_of_their_own(counters: Path) -> None:
    for rank in (0, 3):
        step(manager(rank=rank, visuals_a_step=5, counters=str(counters)), request("a", 5, 36))
    assert totals(counters)["misses"] == 10


@pytest.mark.parametrize("elsewhere", ["/nowhere/at all", None])
def test_an_engine_on_another_machine_counts_for_nobody(elsewhere: str | None) -> None:
    options: dict[str, Any] = {} if elsewhere is None else {"counters": elsewhere}
    assert step(manager(visuals_a_step=2, **options), request("a", 2, 729)) == [0, 1]
