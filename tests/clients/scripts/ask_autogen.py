"""AutoGen: its OpenAI client with the defaults, an AssistantAgent, structures and tools."""

from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.messages import MultiModalMessage, TextMessage
from autogen_core import CancellationToken, Image
from autogen_core.models import AssistantMessage, CreateResult, ModelFamily, UserMessage
from autogen_core.tools import FunctionTool
from autogen_ext.models.openai import OpenAIChatCompletionClient
from pydantic import BaseModel
from steps import COLOURS, SHAPES, equal, run, step, task

TASK = task()
PICTURE = Image.from_file(TASK.file)
QUESTION = UserMessage(content=[PICTURE, TASK.question], source="user")


class Thing(BaseModel):
    """A thing in the picture."""

    colour: COLOURS
    shape: SHAPES


def remember(colour: COLOURS, shape: SHAPES) -> str:
    """Remembers a thing."""
    return f"remembered a {colour} {shape}"


TOOL = FunctionTool(remember, description="Remembers a thing.")


def client() -> OpenAIChatCompletionClient:
    return OpenAIChatCompletionClient(
        model=TASK.model,
        base_url=TASK.url,
        api_key="none",
        temperature=0,
        max_tokens=60,
        max_retries=0,
        model_info={
            "vision": True,
            "function_calling": True,
            "json_output": True,
            "family": ModelFamily.UNKNOWN,
            "structured_output": True,
        },
    )


@step("question about a picture")
async def question() -> None:
    equal((await client().create([QUESTION])).content, TASK.answer)


@step("streamed")
async def stream() -> None:
    chunks: list[Any] = [chunk async for chunk in client().create_stream([QUESTION])]
    equal("".join(chunk for chunk in chunks if isinstance(chunk, str)), TASK.answer)
    assert isinstance(chunks[-1], CreateResult)


@step("second turn")
async def second_turn() -> None:
    answer = AssistantMessage(content=TASK.answer, source="painter")
    messages = [QUESTION, answer, UserMessage(content=TASK.next_question, source="user")]
    equal((await client().create(messages)).content, TASK.next_answer)


@step("json_output with a pydantic model")
async def structured() -> None:
    result = await client().create([QUESTION], json_output=Thing)
    assert isinstance(result.content, str)
    Thing.model_validate_json(result.content)


@step("tool_choice required and auto")
async def tools() -> None:
    required = await client().create([QUESTION], tools=[TOOL], tool_choice="required")
    (call,) = required.content
    equal(call.name, "remember")
    equal((await client().create([QUESTION], tools=[TOOL])).content, TASK.answer)


@step("AssistantAgent: two turns, with a tool that it need not call")
async def agent() -> None:
    assistant = AssistantAgent("painter", client(), tools=[TOOL], system_message="You are a helpful assistant.")
    first = MultiModalMessage(content=[PICTURE, TASK.question], source="user")
    response = await assistant.on_messages([first], CancellationToken())
    equal(response.chat_message.to_text(), TASK.answer)
    second = TextMessage(content=TASK.next_question, source="user")
    equal((await assistant.on_messages([second], CancellationToken())).chat_message.to_text(), TASK.next_answer)


run("autogen-agentchat", "autogen-ext")
