"""Semantic Kernel: a ChatCompletionAgent with instructions, plugins with each choice of functions, and structures."""

from typing import Annotated, Any

from openai import AsyncOpenAI
from pydantic import BaseModel
from semantic_kernel import Kernel
from semantic_kernel.agents import ChatCompletionAgent, ChatHistoryAgentThread
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
from semantic_kernel.contents import ChatHistory, ChatMessageContent, ImageContent, TextContent
from semantic_kernel.contents.utils.author_role import AuthorRole
from semantic_kernel.functions import KernelArguments, kernel_function
from steps import COLOURS, SHAPES, equal, run, step, task

TASK = task()
CLIENT = AsyncOpenAI(base_url=TASK.url, api_key="none", max_retries=0)
SERVICE = OpenAIChatCompletion(ai_model_id=TASK.model, async_client=CLIENT)
QUESTION = ChatMessageContent(
    role=AuthorRole.USER,
    items=[ImageContent.from_image_file(path=str(TASK.file)), TextContent(text=TASK.question)],
)
CALLS: list[str] = []


class Thing(BaseModel):
    """A thing in the picture."""

    colour: COLOURS
    shape: SHAPES


class Memory:
    """A plugin of one function."""

    @kernel_function(description="Remembers a colour.")
    def remember(self, sure: Annotated[bool, "whether it was seen well"]) -> str:
        CALLS.append("remember")
        return "remembered"


def settings(**options: Any) -> OpenAIChatPromptExecutionSettings:
    return OpenAIChatPromptExecutionSettings(temperature=0, max_tokens=60, **options)


def kernel() -> Kernel:
    result = Kernel()
    result.add_service(SERVICE)
    result.add_plugin(Memory(), "memory")
    return result


def agent(**options: Any) -> ChatCompletionAgent:
    return ChatCompletionAgent(
        service=SERVICE,
        name="painter",
        instructions="You are a helpful assistant.",
        arguments=KernelArguments(settings=settings()),
        **options,
    )


@step("ChatCompletionAgent with instructions: two turns")
async def two_turns() -> None:
    thread = ChatHistoryAgentThread()
    equal(str((await agent().get_response(messages=QUESTION, thread=thread)).message), TASK.answer)
    equal(str((await agent().get_response(messages=TASK.next_question, thread=thread)).message), TASK.next_answer)


@step("streamed")
async def stream() -> None:
    equal("".join([str(chunk.message) async for chunk in agent().invoke_stream(messages=QUESTION)]), TASK.answer)


@step("agent with a plugin that it need not call")
async def agent_with_plugin() -> None:
    equal(str((await agent(plugins=[Memory()]).get_response(messages=QUESTION)).message), TASK.answer)
    equal(CALLS, [])


@step("response_format with a pydantic model")
async def structured() -> None:
    history = ChatHistory(messages=[QUESTION])
    answer = await SERVICE.get_chat_message_content(history, settings(response_format=Thing))
    Thing.model_validate_json(str(answer))


@step("FunctionChoiceBehavior Auto and NoneInvoke")
async def optional_functions() -> None:
    for behaviour in (FunctionChoiceBehavior.Auto(), FunctionChoiceBehavior.NoneInvoke()):
        history = ChatHistory(messages=[QUESTION])
        answer = await SERVICE.get_chat_message_content(
            history, settings(function_choice_behavior=behaviour), kernel=kernel()
        )
        equal(str(answer), TASK.answer)


@step("Required: the function runs")
async def required_function() -> None:
    behaviour = FunctionChoiceBehavior.Required(maximum_auto_invoke_attempts=1)
    await SERVICE.get_chat_message_content(
        ChatHistory(messages=[QUESTION]), settings(function_choice_behavior=behaviour), kernel=kernel()
    )
    equal(CALLS, ["remember"])


run("semantic-kernel")
