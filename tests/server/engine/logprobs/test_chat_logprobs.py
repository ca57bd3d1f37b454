"""Log probabilities of chats, which are built a few at a time."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from vllm.logprobs import Logprob

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.logprobs.chat_logprobs import PART, TURN, ChatLogprobs
from llava_interleave_serve.server.engine.vllm_errors import OwnErrors

pytestmark = pytest.mark.anyio
LIKELIEST = 20
REQUEST = SimpleNamespace(
    logprobs=True, top_logprobs=LIKELIEST, logprob_token_ids=None, return_tokens_as_token_ids=None
)


class Serving(ChatLogprobs, OwnErrors, vllm_compat.OpenAIServingChat):  # type: ignore[misc]
    """vLLM's serving without an engine."""

    return_tokens_as_token_ids = False

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self.renderer = SimpleNamespace(tokenizer=None)
        self.built = 0

    def _entries(self, request: Any, token_ids: Any, logprobs: Any) -> list[Any]:
        self.built += sum(map(len, logprobs))
        return super()._entries(request, token_ids, logprobs)


def choice(tokens: int, offset: int = 0) -> SimpleNamespace:
    """A choice of so many tokens, each with its own log probability and those of LIKELIEST."""
    ids = [offset + number for number in range(tokens)]
    logprobs = [
        {each: Logprob(-1.0 - rank, rank, f"<{each}>") for rank, each in enumerate(range(own, own + LIKELIEST + 1))}
        for own in ids
    ]
    return SimpleNamespace(token_ids=ids, logprobs=logprobs)


def client_gets(serving: Serving, output: SimpleNamespace) -> Any:
    """What vLLM's generators make of a choice's log probabilities."""
    return serving._create_chat_logprobs(output.token_ids, output.logprobs, None, LIKELIEST)


async def passes_of(building: Any, serving: Serving) -> list[int]:
    """How many log probabilities had been built after each pass of the event loop, until all are."""
    task, passes = asyncio.ensure_future(building), [0]
    while not task.done():
        await asyncio.sleep(0)
        passes.append(serving.built)
    await task
    return passes


async def test_what_is_built_is_what_vllm_builds() -> None:
    serving, outputs = Serving(), [choice(30), choice(0), choice(3, offset=100)]
    outputs[0].logprobs.append({7: Logprob(-1.0, 1, "the end of a beam")})
    expected = [client_gets(serving, output) for output in outputs]
    assert serving.built == 0
    await serving.build_logprobs(REQUEST, outputs)
    assert [client_gets(serving, output) for output in outputs] == expected
    assert len(expected[0].content[0].top_logprobs) == LIKELIEST
    assert len(expected[0].content) == 30


async def test_nothing_is_built_that_is_not_asked_for() -> None:
    serving = Serving()
    await serving.build_logprobs(SimpleNamespace(logprobs=False), [choice(3)])
    assert serving.built == 0


@pytest.mark.parametrize("requests", [1, 8])
async def test_a_pass_of_the_event_loop_builds_those_of_a_turn_of_all_requests_together(requests: int) -> None:
    serving = Serving()
    building = asyncio.gather(*(serving.build_logprobs(REQUEST, [choice(200), choice(200)]) for _ in range(requests)))
    passes = await passes_of(building, serving)
    in_a_pass = [after - before for before, after in pairwise(passes)]
    assert passes[-1] == requests * 400 * (LIKELIEST + 1)
    assert max(in_a_pass) <= TURN + PART


async def test_a_short_request_does_not_wait_for_the_end_of_a_long_one() -> None:
    serving = Serving()
    long = asyncio.ensure_future(serving.build_logprobs(REQUEST, [choice(5_000)]))
    await asyncio.sleep(0)
    await serving.build_logprobs(REQUEST, [choice(1)])
    assert not long.done()
    await long


async def test_a_request_that_ends_while_it_waits_leaves_the_turns_to_others() -> None:
    serving, output = Serving(), choice(500)
    left = asyncio.ensure_future(serving.build_logprobs(REQUEST, [choice(500)]))
    waiting = asyncio.ensure_future(serving.build_logprobs(REQUEST, [output]))
    await asyncio.sleep(0)
    left.cancel()
    await waiting
    assert len(client_gets(serving, output).content) == 500


async def test_an_answer_is_dumped_as_vllm_dumps_it_and_lets_others_have_their_turns() -> None:
    serving, output = Serving(), choice(400)
    await serving.build_logprobs(REQUEST, [output])
    made = [
        SimpleNamespace(index=0, logprobs=client_gets(serving, output)),
        SimpleNamespace(index=1, logprobs=None),
    ]
    answer = Answer(made)
    expected = answer.model_dump()
    dumping = asyncio.ensure_future(serving._dumped(answer))
    passes = 0
    while not dumping.done():
        await asyncio.sleep(0)
        passes += 1
    assert await dumping == expected
    assert len(expected["choices"][0]["logprobs"]["content"]) == 400
    assert passes > 400 * (LIKELIEST + 1) / (TURN + PART)


class Answer:
    """vLLM's answer, as far as its log probabilities are concerned."""

    def __init__(self, choices: list[SimpleNamespace]) -> None:
        self.choices = choices

    def model_dump(self, **options: Any) -> dict[str, Any]:
        options = {"mode": "json", "exclude_none": True} | options
        return {
            "choices": [
                {"index": each.index}
                | ({} if each.logprobs is None else {"logprobs": each.logprobs.model_dump(**options)})
                for each in self.choices
            ]
        }
