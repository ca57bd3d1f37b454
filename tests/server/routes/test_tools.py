"""Tools through the chat route: what the operator allows, what the engine is given, and what does not fit."""

from typing import Any

import pytest

from llava_interleave_serve.server.limits import Limits
from tests.support.app_client import CHAT, HELLO, PLAN, serving
from tests.support.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
NAMED = {"type": "function", "function": {"name": "f0"}}
RESULTS = {
    "messages": [
        *HELLO["messages"],
        {"role": "assistant", "tool_calls": [{"function": {"name": "f0", "arguments": "{}"}}]},
        {"role": "tool", "content": "3"},
    ]
}


def tools(count: int = 1, description: str = "x") -> list[dict[str, Any]]:
    functions = [{"name": f"f{n}", "description": description, "parameters": SCHEMA} for n in range(count)]
    return [{"type": "function", "function": function} for function in functions]


@pytest.mark.parametrize(
    ("auto_tools", "choice", "offered"),
    [("write", "auto", 2), ("write", "none", 0), ("write", "required", 2), ("write", NAMED, 1),
     ("omit", "auto", 0), ("omit", "required", 2), ("omit", NAMED, 1), (None, "auto", 0)],
)  # fmt: skip
async def test_the_operator_says_whether_tools_that_need_not_be_called_are_written(
    auto_tools: Any, choice: Any, offered: int
) -> None:
    engine = FakeEngine()
    async with serving(engine, auto_tools=auto_tools) as client:
        asked = HELLO | {"tools": tools(2), "tool_choice": choice}
        assert (await client.post(CHAT, json=asked)).status_code == 200
        plan = (await client.post(PLAN, json=asked)).json()
    token_ids, _, sampling = engine.asked[0]
    assert len(sampling.get("tools", ())) == offered
    assert ("tool_choice" in sampling) == bool(offered)
    assert plan["prompt_tokens"] == len(token_ids)
    assert (len(token_ids) > 100) == bool(offered)


async def test_another_model_than_the_demo_is_told_of_its_tools_by_default() -> None:
    engine = FakeEngine()
    async with serving(engine, model="my/model") as client:
        assert (await client.post(CHAT, json=HELLO | {"tools": tools()})).status_code == 200
    assert engine.asked[0][2]["tool_choice"] == "auto"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (HELLO | {"tools": tools()}, "tools"), (HELLO | {"tools": tools(), "tool_choice": "required"}, "tools"),
        (RESULTS, "messages[1]"), (HELLO | {"tools": tools(), "tool_choice": "none"}, None),
        (HELLO | {"tools": []}, None),
    ],
)  # fmt: skip
async def test_a_server_without_tools_refuses_them_by_name(body: dict[str, Any], param: str | None) -> None:
    async with serving(tools=False) as client:
        answers = [await client.post(path, json=body) for path in (CHAT, PLAN)]
    for answer in answers:
        assert answer.status_code == (200 if param is None else 400)
        if param is not None:
            assert answer.json()["error"]["param"] == param
            assert "--no-tools" in answer.json()["error"]["message"]


async def test_calls_and_results_are_taken_without_the_tools_themselves() -> None:
    async with serving() as client:
        assert (await client.post(CHAT, json=RESULTS)).status_code == 200


@pytest.mark.parametrize(("count", "length"), [(36, 100), (3, 30_000), (30, 2_000)])
async def test_definitions_that_do_not_fit_are_told_with_the_ways_out(count: int, length: int) -> None:
    engine = FakeEngine()
    async with serving(engine, auto_tools="write") as client:
        answers = [
            await client.post(path, json=HELLO | {"tools": tools(count, "long words " * (length // 11))})
            for path in (CHAT, PLAN)
        ]
        fewer = await client.post(CHAT, json=HELLO | {"tools": tools(count), "tool_choice": "none"})
    for answer in answers:
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
        assert f"definitions of tools ({count})" in error["message"]
        assert "tool_choice 'none' (or let --auto-tools omit leave them out)" in error["message"]
    assert fewer.status_code == 200


async def test_a_prompt_that_has_no_room_for_an_answer_names_the_tools_too() -> None:
    engine = FakeEngine(max_model_len=440)
    async with serving(engine, auto_tools="write") as client:
        answer = await client.post(CHAT, json=HELLO | {"tools": tools(1)})
    assert "the prompt takes" in answer.json()["error"]["message"]
    assert "definitions of tools (1)" in answer.json()["error"]["message"]


async def test_the_number_of_tools_is_the_operators() -> None:
    async with serving(limits=Limits(max_tools=2)) as client:
        answers = [await client.post(CHAT, json=HELLO | {"tools": tools(count)}) for count in (2, 3)]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert answers[1].json()["error"]["param"] == "tools"
