"""Fields that the server does not have are accepted where they ask for nothing, and refused where they ask."""

from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt import chat_request, neutral_fields
from llava_interleave_serve.server.prompt.text.completion_request import CompletionRequest

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
ACCEPTED: list[dict[str, Any]] = [
    {"user": 5}, {"metadata": {"a": "b"}}, {"store": True}, {"safety_identifier": "x"}, {"prompt_cache_key": "k"},
    {"prompt_cache_retention": "24h"}, {"prediction": {"type": "content", "content": "x"}}, {"service_tier": "auto"},
    {"service_tier": "default"}, {"parallel_tool_calls": True}, {"parallel_tool_calls": False},
    {"tool_choice": "none"}, {"tools": []}, {"tools": TOOLS, "tool_choice": "none"}, {"tool_choice": "auto"},
    {"tools": [], "tool_choice": "none"}, {"function_call": "none"}, {"functions": []},
    {"functions": [{}], "function_call": "none"}, {"modalities": ["text"]}, {"verbosity": "medium"},
    {"reasoning_effort": "none"}, {"chat_template_kwargs": {"enable_thinking": False}}, {"chat_template_kwargs": {}},
    {"enable_thinking": False}, {"thinking": {"type": "disabled"}}, {"think": False},
    {"reasoning": {"effort": "none"}}, {"include_reasoning": False}, {"add_generation_prompt": True},
    {"continue_final_message": False}, {"add_special_tokens": False}, {"echo": False}, {"priority": 0}, {"best_of": 1},
    {"separate_reasoning": True}, {"stream_reasoning": False}, {"no_stop_trim": False}, {"return_hidden_states": False},
    {"mm_processor_kwargs": {}}, {"media_io_kwargs": {}}, {"documents": []},
]  # fmt: skip
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"functions": [{}]}, "functions", "send the functions as tools"),
    ({"function_call": "auto"}, "function_call", "function_call as tool_choice"),
    ({"service_tier": "flex"}, "service_tier", '"auto" or "default"'),
    ({"modalities": ["text", "audio"]}, "modalities", r'\["text"\]'),
    ({"verbosity": "low"}, "verbosity", '"medium"'),
    ({"reasoning_effort": "low"}, "reasoning_effort", '"none"'),
    ({"web_search_options": {}}, "web_search_options", "leave it out"),
    ({"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs", "left out"),
    ({"echo": True}, "echo", "false"),
    ({"echo": 0}, "echo", "false"),
    ({"priority": False}, "priority", "0"),
    ({"best_of": 2}, "best_of", "1"),
    ({"media_io_kwargs": {"video": {"num_frames": 8}}}, "media_io_kwargs", "num_frames"),
    ({"no_stop_trim": True}, "no_stop_trim", "include_stop_str_in_output"),
    ({"return_hidden_states": True}, "return_hidden_states", "false"),
    ({"guided_json": {"type": "object"}}, "guided_json", "structured_outputs"),
    ({"unheard_of": None, "other": []}, "other", "no field 'other'"),
]


@pytest.mark.parametrize("fields", ACCEPTED, ids=str)
def test_a_value_that_asks_for_nothing_is_accepted_and_not_passed_on(fields: dict[str, Any]) -> None:
    assert chat_request.parse(HELLO | fields).sampling == {}


@pytest.mark.parametrize(("fields", "param", "message"), REFUSED, ids=str)
def test_a_value_that_asks_for_something_is_refused_with_the_value_that_would_do(
    fields: dict[str, Any], param: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message) as refusal:
        chat_request.parse(HELLO | fields)
    assert refusal.value.param == param


def test_what_vllm_does_by_default_may_be_spelled_out() -> None:
    from llava_interleave_serve.server.engine import vllm_compat

    defaults = {name: field.default for name, field in vllm_compat.ChatCompletionRequest.model_fields.items()}
    stated = {name: value for name, value in defaults.items() if value not in (None, PydanticUndefined)}
    assert "continue_final_message" in stated
    assert "tool_choice" in stated
    chat_request.parse(HELLO | stated)


def test_no_field_is_both_neutral_and_passed_on() -> None:
    for kind in (chat_request.ChatRequest, CompletionRequest):
        assert kind.sampling_fields.isdisjoint(kind.neutral.keys() - {"echo"} | neutral_fields.HINTS)
