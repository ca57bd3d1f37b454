"""pydantic-ai: an agent with its default output type, which is a tool, with tools, streams and a history."""

from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from steps import COLOURS, SHAPES, equal, run, step, task

TASK = task()
MODEL = OpenAIChatModel(TASK.model, provider=OpenAIProvider(base_url=TASK.url, api_key="none"))
QUESTION = [BinaryContent(TASK.file.read_bytes(), media_type="image/png"), TASK.question]


class Thing(BaseModel):
    """A thing in the picture."""

    colour: COLOURS
    shape: SHAPES


def agent(**options: Any) -> Any:
    return Agent(MODEL, model_settings={"temperature": 0, "max_tokens": 60}, retries=0, **options)


def remember(colour: COLOURS, shape: SHAPES) -> str:
    """Remembers a thing."""
    return f"remembered a {colour} {shape}"


@step("question about a picture")
async def question() -> None:
    equal((await agent().run(QUESTION)).output, TASK.answer)


@step("streamed")
async def stream() -> None:
    async with agent().run_stream(QUESTION) as result:
        equal([text async for text in result.stream_text()][-1], TASK.answer)


@step("second turn by message_history")
async def second_turn() -> None:
    first = await agent().run(QUESTION)
    equal((await agent().run(TASK.next_question, message_history=first.all_messages())).output, TASK.next_answer)


@step("default output_type")
async def output_type() -> None:
    assert isinstance((await agent(output_type=Thing).run(QUESTION)).output, Thing)


@step("default output_type, streamed")
async def output_type_streamed() -> None:
    async with agent(output_type=Thing).run_stream(QUESTION) as result:
        assert isinstance(await result.get_output(), Thing)


@step("NativeOutput")
async def native_output() -> None:
    assert isinstance((await agent(output_type=NativeOutput(Thing)).run(QUESTION)).output, Thing)


@step("tools that the model need not call")
async def tools() -> None:
    equal((await agent(tools=[remember]).run(QUESTION)).output, TASK.answer)


run("pydantic-ai-slim")
