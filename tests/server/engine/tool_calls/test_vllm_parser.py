"""vLLM's chat serving is given calls as OpenAI writes them."""

import json
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from vllm.outputs import CompletionOutput, RequestOutput

from llava_interleave_serve.server.engine.rendered_request import RenderedRequest
from llava_interleave_serve.server.engine.tool_calls.vllm_parser import HermesParser
from llava_interleave_serve.server.engine.vllm_chat import RenderedChat
from llava_interleave_serve.server.errors import ServeError

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}}
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
NAMED = {"type": "function", "function": {"name": "f"}}


def parser_of(**fields: Any) -> tuple[HermesParser, RenderedRequest]:
    request = RenderedRequest.from_sampling(fields)
    return HermesParser(None, request.tools, model_config=None, chat_template_kwargs={}), request


def deltas(parser: HermesParser, request: Any, *pieces: str) -> list[dict[str, Any]]:
    found = [
        parser.parse_delta(piece, [], request, finished=number == len(pieces)) for number, piece in enumerate(pieces, 1)
    ]
    return [delta.model_dump(mode="json", exclude_unset=True) for delta in found if delta is not None]


def test_a_whole_answer_has_its_text_and_its_calls() -> None:
    parser, request = parser_of(tools=[TOOL], tool_choice="auto")
    reasoning, text, calls = parser.parse(f"I look.\n{CALL}{CALL}", request)
    assert (reasoning, text) == (None, "I look.\n")
    assert calls is not None
    assert [(call.name, call.arguments) for call in calls] == [("f", '{"a": 1}')] * 2


def test_the_first_delta_of_a_call_has_its_name_and_those_after_it_its_arguments() -> None:
    parser, request = parser_of(tools=[TOOL], tool_choice="auto")
    first, *rest = deltas(
        parser, request, "<tool_call>", '{"name": "f", "arguments": {"a"', ": 1", "}}</tool_call>", CALL
    )
    (start,) = first["tool_calls"]
    assert start.pop("id").startswith("chatcmpl-tool-")
    assert start == {"index": 0, "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
    assert rest[0] == {"tool_calls": [{"index": 0, "function": {"arguments": ": 1"}}]}
    assert rest[1] == {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}
    assert rest[2]["tool_calls"][0]["index"] == 1
    assert rest[2]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}


@pytest.mark.parametrize("fields", [{}, {"tools": [TOOL], "tool_choice": "none"}])
def test_without_tools_to_call_all_is_text(fields: dict[str, Any]) -> None:
    parser, request = parser_of(**fields)
    assert parser.parse(CALL, request) == (None, CALL, [])
    parser, request = parser_of(**fields)
    assert deltas(parser, request, CALL, "") == [{"content": CALL}, {"content": ""}]


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_forced_call_of_one_tool_is_read_without_its_tags(choice: Any) -> None:
    parser, request = parser_of(tools=[TOOL], tool_choice=choice)
    _, text, calls = parser.parse('{"a":1}', request)
    assert calls is not None
    assert [(call.name, call.arguments) for call in calls] == [("f", '{"a":1}')]
    assert text == ""


def test_the_structure_of_a_forced_call_is_set_and_blamed_on_the_tools() -> None:
    forced = RenderedRequest.from_sampling({"tools": [TOOL], "tool_choice": "required"})
    assert forced.structured_outputs is not None
    assert forced.structured_outputs.json == TOOL["function"]["parameters"]  # type: ignore[index]
    assert forced.structure_field == "tools"
    free = RenderedRequest.from_sampling({"tools": [TOOL], "tool_choice": "auto"})
    assert (free.structured_outputs, free.structure_field) == (None, None)


def test_a_fault_of_the_engine_is_blamed_on_the_tools_whose_structure_it_was() -> None:
    serving: Any = SimpleNamespace(engine_client=SimpleNamespace(errored=False))
    request = RenderedRequest.from_sampling({"tools": [TOOL], "tool_choice": "required"})
    refusal = RenderedChat._blame_structure(serving, request, ServeError("the engine could not answer this request"))
    assert (refusal.status, refusal.param) == (400, "tools")


async def results(*pieces: str, finish_reason: str) -> AsyncGenerator[Any, None]:
    """What the engine gives for an answer in these pieces."""
    for number, piece in enumerate(pieces, 1):
        ended = number == len(pieces)
        output = CompletionOutput(0, piece, [1], None, None, finish_reason=finish_reason if ended else None)
        yield RequestOutput("id", None, [1, 2], None, [output], finished=ended)


def serving() -> Any:
    """vLLM's chat serving without an engine: what its generators of answers read."""
    chat: Any = object.__new__(RenderedChat)
    vars(chat).update(
        parser_cls=HermesParser, enable_auto_tools=True, response_role="assistant", request_logger=None,
        default_sampling_params={}, system_fingerprint=None, enable_prompt_tokens_details=False, model_config=None,
        enable_per_request_metrics=False, enable_log_outputs=False, enable_force_include_usage=False,
        _include_reasoning_tokens_details=False, chat_template=None, chat_template_content_format="auto",
        default_chat_template_kwargs={},
    )  # fmt: skip
    return chat


async def answered(request: RenderedRequest, *pieces: str, finish_reason: str = "stop") -> dict[str, Any]:
    """The choice of a whole answer."""
    parser = HermesParser(None, request.tools)
    answer = await serving().chat_completion_full_generator(
        request, results("".join(pieces), finish_reason=finish_reason), "id", "model", [], None, SimpleNamespace(),
        parser=parser,
    )  # fmt: skip
    (choice,) = answer.model_dump(mode="json", exclude_none=True)["choices"]
    found: dict[str, Any] = choice
    return found


async def streamed(request: RenderedRequest, *pieces: str, finish_reason: str = "stop") -> list[dict[str, Any]]:
    """The choices of a stream's events."""
    events = serving().chat_completion_stream_generator(
        request, results(*pieces, finish_reason=finish_reason), "id", "model", [], object(), SimpleNamespace()
    )
    lines = [event.removeprefix("data: ") async for event in events]
    return [json.loads(line)["choices"][0] for line in lines if not line.startswith("[DONE]")]


def auto(**fields: Any) -> RenderedRequest:
    return RenderedRequest.from_sampling({"tools": [TOOL], "tool_choice": "auto", **fields})


@pytest.mark.anyio
class TestAnswersOfVllm:
    async def test_a_call_that_the_model_writes_is_a_call(self) -> None:
        choice = await answered(auto(), "I look. ", CALL)
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] == "I look. "
        (call,) = choice["message"]["tool_calls"]
        assert (call["type"], call["function"]) == ("function", {"name": "f", "arguments": '{"a": 1}'})

    async def test_a_call_in_a_stream_is_told_before_its_arguments(self) -> None:
        first, text, start, arguments, last = await streamed(
            auto(stream=True), "I look.", "<tool_call>", '{"name": "f", "arguments": {', '"a": 1}', "}</tool_call>"
        )
        assert first["delta"] == {"role": "assistant", "content": ""}
        assert text["delta"] == {"content": "I look."}
        (call,) = start["delta"]["tool_calls"]
        assert (call["index"], call["type"], call["function"]) == (0, "function", {"name": "f", "arguments": "{"})
        assert arguments["delta"] == {"tool_calls": [{"index": 0, "function": {"arguments": '"a": 1}'}}]}
        assert (last["delta"], last["finish_reason"]) == ({}, "tool_calls")

    async def test_an_answer_without_a_call_is_text(self) -> None:
        choice = await answered(auto(), "A red ", "star.")
        assert (choice["message"]["content"], choice["finish_reason"]) == ("A red star.", "stop")
        assert "tool_calls" not in choice["message"]
        *_, last = await streamed(auto(stream=True), "A red ", "star.")
        assert (last["delta"], last["finish_reason"]) == ({"content": "star."}, "stop")

    async def test_a_beginning_of_a_call_that_is_none_is_text_in_a_stream_too(self) -> None:
        choices = await streamed(auto(stream=True), "<tool_call>", "{", "x")
        assert "".join(choice["delta"].get("content", "") for choice in choices) == "<tool_call>{x"

    async def test_several_calls_become_one_where_the_client_wants_no_others(self) -> None:
        assert len((await answered(auto(), CALL, CALL))["message"]["tool_calls"]) == 2
        one = auto(parallel_tool_calls=False)
        assert len((await answered(one, CALL, CALL))["message"]["tool_calls"]) == 1
        deltas = [
            choice["delta"] for choice in await streamed(auto(stream=True, parallel_tool_calls=False), CALL, CALL)
        ]
        assert {call["index"] for delta in deltas for call in delta.get("tool_calls", ())} == {0}

    async def test_a_call_that_is_cut_ends_by_its_length(self) -> None:
        choice = await answered(auto(), CALL[:40], finish_reason="length")
        assert choice["finish_reason"] == "length"
        assert choice["message"]["tool_calls"][0]["function"]["arguments"].startswith("{")
        *_, last = await streamed(auto(stream=True), CALL[:40], finish_reason="length")
        assert last["finish_reason"] == "length"

    @pytest.mark.parametrize(("choice", "reason"), [("required", "tool_calls"), (NAMED, "stop")])
    async def test_forced_calls_end_as_openai_says(self, choice: Any, reason: str) -> None:
        forced = {"tool_choice": choice}
        whole = await answered(auto(**forced), '{"a":1}')
        assert (whole["finish_reason"], whole["message"]["content"]) == (reason, "")
        *_, last = await streamed(auto(stream=True, **forced), '{"a"', ":1}")
        assert last["finish_reason"] == reason
