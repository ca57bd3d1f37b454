"""vLLM's completion serving goes on from prompts that are written here, over an engine that writes what a test says."""

import json
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from vllm.outputs import CompletionOutput, RequestOutput

from llava_interleave_serve.server.engine.base import TextPrompt
from llava_interleave_serve.server.engine.completions.rendered_completion import RenderedCompletion
from llava_interleave_serve.server.engine.completions.vllm_completion import RenderedCompletions
from llava_interleave_serve.server.errors import ServeError
from llava_interleave_serve.server.observability.timing import RequestTiming

pytestmark = pytest.mark.anyio
PROMPTS = [TextPrompt([1, 2], "ab"), TextPrompt([3], "c")]


class Engine:
    """What vLLM's serving asks of its engine: answers each prompt in two pieces, or fails after the first."""

    def __init__(self, fails: Exception | None = None, finish_reason: str = "stop") -> None:
        self.errored, self.fails, self.finish_reason = False, fails, finish_reason
        self.inputs: list[Any] = []
        self.sampling: list[Any] = []

    def check_admission(self, sequences: int) -> None:
        self.sequences = sequences

    async def generate(self, engine_input: Any, params: Any, request_id: str, **_: Any) -> AsyncGenerator[Any, None]:
        self.inputs.append(engine_input)
        self.sampling.append(params)
        ids = engine_input["prompt_token_ids"]
        whole = params.output_kind.name == "FINAL_ONLY"
        for piece in [f"<{ids[0]}>"] if whole else [f"<{ids[0]}", ">"]:
            ended = piece.endswith(">")
            if ended and self.fails is not None:
                raise self.fails
            outputs = [
                CompletionOutput(index, piece, [7], None, None, finish_reason=self.finish_reason if ended else None)
                for index in range(params.n)
            ]
            yield RequestOutput(request_id, None, ids, None, outputs, finished=ended)


def serving(engine: Engine) -> RenderedCompletions:
    async def process(prompt: dict[str, Any], arrival: float) -> dict[str, Any]:
        return {"type": "token", **prompt, "arrival_time": arrival}

    made: Any = object.__new__(RenderedCompletions)
    vars(made).update(
        has_kv_connector=False, engine_client=engine,
        renderer=SimpleNamespace(process_for_engine_async=process, tokenizer=None),
        models=SimpleNamespace(model_name=lambda _: "model", lora_requests={}), request_logger=None,
        model_config=SimpleNamespace(max_model_len=64, is_encoder_decoder=False, enable_prompt_embeds=False),
        default_sampling_params={}, override_max_tokens=None, return_tokens_as_token_ids=False, system_fingerprint=None,
        enable_prompt_tokens_details=False, enable_force_include_usage=False, enable_per_request_metrics=False,
    )  # fmt: skip
    chat: RenderedCompletions = made
    return chat


async def answer(engine: Engine, prompts: list[TextPrompt] = PROMPTS, salt: str = "", **sampling: Any) -> Any:
    request = RenderedCompletion.from_sampling(sampling).with_prompts(prompts, RequestTiming(), salt)
    return await serving(engine).answer(request)


async def events(engine: Engine, prompts: list[TextPrompt] = PROMPTS, **sampling: Any) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") async for line in await answer(engine, prompts, stream=True, **sampling)]
    assert lines[-1] == "[DONE]\n\n"
    return [json.loads(line) for line in lines[:-1]]


async def test_each_prompt_is_answered_in_its_order() -> None:
    engine = Engine()
    whole = await answer(engine)
    assert [(choice["index"], choice["text"]) for choice in whole["choices"]] == [(0, "<1>"), (1, "<3>")]
    assert whole["usage"] == {"prompt_tokens": 3, "total_tokens": 5, "completion_tokens": 2}
    assert engine.sequences == 2
    assert [params.max_tokens for params in engine.sampling] == [16, 16]  # OpenAI's default


@pytest.mark.parametrize("temperature", [0, 1])
async def test_several_choices_are_answered_to_each_prompt_and_equal_ones_are_computed_once(temperature: int) -> None:
    engine = Engine()
    whole = await answer(engine, n=2, temperature=temperature)
    assert [choice["text"] for choice in whole["choices"]] == ["<1>", "<1>", "<3>", "<3>"]
    assert {params.n for params in engine.sampling} == {1 if temperature == 0 else 2}
    texts = [""] * 4
    for event in await events(Engine(), n=2, temperature=temperature):
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == ["<1>", "<1>", "<3>", "<3>"]


async def test_a_prompt_is_echoed_as_its_text() -> None:
    assert [choice["text"] for choice in (await answer(Engine(), echo=True))["choices"]] == ["ab<1>", "c<3>"]
    assert "".join(event["choices"][0]["text"] for event in await events(Engine(), PROMPTS[:1], echo=True)) == "ab<1>"
    (only,) = (await answer(Engine(), PROMPTS[:1], echo=True, max_tokens=0))["choices"]
    assert only["text"] == "ab"


async def test_more_tokens_than_the_context_leaves_are_lowered() -> None:
    engine = Engine()
    await answer(engine, max_tokens=10**6)
    assert [params.max_tokens for params in engine.sampling] == [62, 63]


async def test_prompts_of_different_keys_share_no_cache() -> None:
    engine = Engine()
    await answer(engine, salt="digest")
    await answer(engine)
    assert [each.get("cache_salt") for each in engine.inputs] == ["digest", "digest", None, None]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("engine", "sampling", "status", "param"),
    [
        (Engine(RuntimeError("/work/secret")), {}, 500, None), (Engine(finish_reason="error"), {}, 500, None),
        (Engine(RuntimeError("x")), {"structured_outputs": {"regex": "a"}}, 400, "structured_outputs"),
    ],
    ids=["failure", "error", "structure"],
)  # fmt: skip
async def test_a_failure_is_told_in_own_words(
    engine: Engine, sampling: dict[str, Any], status: int, param: str | None, stream: bool
) -> None:
    with pytest.raises(ServeError) as failure:
        await (events if stream else answer)(engine, PROMPTS[:1], **sampling)
    assert (failure.value.status, failure.value.param) == (status, param)
    assert "secret" not in failure.value.message


@pytest.mark.parametrize(("field", "value"), [("temperature", "hot"), ("seed", 2**70), ("stop", 5)])
async def test_what_vllm_does_not_take_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ServeError) as refusal:
        RenderedCompletion.from_sampling({field: value})
    assert (refusal.value.status, refusal.value.param) == (400, field)
