"""Requests about the same visual go to the same data parallel rank; `add_request` of vLLM stands for its ranks."""

from types import SimpleNamespace
from typing import Any

import pytest

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.forgetful_llm import ForgetfulLLM

RANKS = 4


def llm(ranks: int = RANKS, *, local_only: bool = False) -> ForgetfulLLM:
    made = ForgetfulLLM.__new__(ForgetfulLLM)
    parallel = SimpleNamespace(data_parallel_size=ranks, local_engines_only=local_only)
    made.vllm_config = SimpleNamespace(parallel_config=parallel)
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The rank of each request."""
    ranks: list[int | None] = []

    async def add_request(
        self: Any, request_id: str, prompt: Any, *args: Any, data_parallel_rank: int | None = None, **options: Any
    ) -> None:
        ranks.append(data_parallel_rank)

    monkeypatch.setattr(vllm_compat.AsyncLLM, "add_request", add_request)
    return ranks


async def ask(engine: ForgetfulLLM, *hashes: str, **options: Any) -> None:
    await engine.add_request("id", {"mm_hashes": {"image": list(hashes)} if hashes else {}, "mm_kwargs": {}}, **options)


@pytest.mark.anyio
async def test_the_first_visual_decides_the_rank(asked: list[int | None]) -> None:
    engine = llm()
    for rest in ((), ("b",), ("c", "d")):
        await ask(engine, "a picture", *rest)
    assert len(set(asked)) == 1
    assert asked[0] in range(RANKS)


@pytest.mark.anyio
async def test_different_visuals_are_spread_over_the_ranks(asked: list[int | None]) -> None:
    engine = llm()
    for number in range(400):
        await ask(engine, f"picture {number}")
    assert {asked.count(rank) for rank in range(RANKS)} <= set(range(60, 140))
    assert set(asked) == set(range(RANKS))


@pytest.mark.anyio
async def test_texts_single_ranks_and_ranks_that_are_chosen_are_left_to_vllm(asked: list[int | None]) -> None:
    await ask(llm())
    await ask(llm(1), "a")
    await ask(llm(local_only=True), "a")
    await ask(llm(), "a", data_parallel_rank=3)
    assert asked == [None, None, None, 3]
