"""LlamaIndex: OpenAILike for chats, completions, structures and function calls."""

from typing import Any

from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel
from steps import COLOURS, SHAPES, equal, run, step, task

TASK = task()
QUESTION = ChatMessage(role="user", blocks=[ImageBlock(path=TASK.file), TextBlock(text=TASK.question)])


class Thing(BaseModel):
    """A thing in the picture."""

    colour: COLOURS
    shape: SHAPES


def remember(colour: COLOURS, shape: SHAPES) -> str:
    """Remembers a thing."""
    return f"remembered a {colour} {shape}"


def model(**options: Any) -> OpenAILike:
    return OpenAILike(
        model=TASK.model,
        api_base=TASK.url,
        api_key="none",
        context_window=16_384,
        temperature=0,
        max_tokens=60,
        max_retries=0,
        **options,
    )


CHAT = model(is_chat_model=True, is_function_calling_model=True)


@step("`complete` with its defaults")
def complete() -> None:
    assert model().complete("A red").text


@step("question about a picture")
def question() -> None:
    equal(CHAT.chat([QUESTION]).message.content, TASK.answer)


@step("streamed")
def stream() -> None:
    equal(list(CHAT.stream_chat([QUESTION]))[-1].message.content, TASK.answer)


@step("second turn")
def second_turn() -> None:
    answer = CHAT.chat([QUESTION]).message
    messages = [QUESTION, answer, ChatMessage(role="user", content=TASK.next_question)]
    equal(CHAT.chat(messages).message.content, TASK.next_answer)


@step("`as_structured_llm` by a function call")
def structured_by_call() -> None:
    assert isinstance(CHAT.as_structured_llm(Thing).chat([QUESTION]).raw, Thing)


@step("`as_structured_llm` by response_format")
def structured_by_format() -> None:
    llm = model(is_chat_model=True, should_use_structured_outputs=True)
    assert isinstance(llm.as_structured_llm(Thing).chat([QUESTION]).raw, Thing)


@step("`chat_with_tools`, required and auto")
def tools() -> None:
    tool = FunctionTool.from_defaults(remember)
    answer = CHAT.chat_with_tools([tool], chat_history=[QUESTION], tool_required=True)
    (call,) = CHAT.get_tool_calls_from_response(answer)
    equal(call.tool_name, "remember")
    tool.call(**call.tool_kwargs)
    equal(CHAT.chat_with_tools([tool], chat_history=[QUESTION]).message.content, TASK.answer)


run("llama-index-core", "llama-index-llms-openai-like")
