"""OpenAI's Agents SDK with its chat completions model: tools, handoffs, an output type, streams and second turns."""

from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    Runner,
    ToolCallItem,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel
from steps import COLOURS, SHAPES, equal, run, step, task

set_tracing_disabled(True)
TASK = task()
MODEL = OpenAIChatCompletionsModel(TASK.model, AsyncOpenAI(base_url=TASK.url, api_key="none", max_retries=0))
QUESTION: list[Any] = [
    {
        "role": "user",
        "content": [
            {"type": "input_image", "image_url": TASK.picture, "detail": "auto"},
            {"type": "input_text", "text": TASK.question},
        ],
    }
]


class Thing(BaseModel):
    """A thing in the picture."""

    colour: COLOURS
    shape: SHAPES


@function_tool
def remember(colour: COLOURS, shape: SHAPES) -> str:
    """Remembers a thing."""
    return f"remembered a {colour} {shape}"


def agent(tool_choice: str | None = None, **options: Any) -> Agent[Any]:
    settings = ModelSettings(temperature=0, max_tokens=60, tool_choice=tool_choice)
    return Agent(name="painter", model=MODEL, model_settings=settings, **options)


@step("question about a picture")
async def question() -> None:
    equal((await Runner.run(agent(), QUESTION)).final_output, TASK.answer)


@step("streamed")
async def stream() -> None:
    text = ""
    async for event in Runner.run_streamed(agent(), QUESTION).stream_events():
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
            text += event.data.delta
    equal(text, TASK.answer)


@step("second turn by `to_input_list`")
async def second_turn() -> None:
    first = await Runner.run(agent(), QUESTION)
    messages = [*first.to_input_list(), {"role": "user", "content": TASK.next_question}]
    equal((await Runner.run(agent(), messages)).final_output, TASK.next_answer)


@step("output_type")
async def output_type() -> None:
    assert isinstance((await Runner.run(agent(output_type=Thing), QUESTION)).final_output, Thing)


@step("tools and handoffs that the model need not call")
async def optional_tools() -> None:
    other = Agent(name="critic", model=MODEL)
    equal((await Runner.run(agent(tools=[remember], handoffs=[other]), QUESTION)).final_output, TASK.answer)


@step("tool_choice required: the tool runs, and its result is sent back")
async def required_tool() -> None:
    result = await Runner.run(agent("required", tools=[remember]), QUESTION)
    assert [item for item in result.new_items if isinstance(item, ToolCallItem)]
    assert result.final_output


run("openai-agents")
