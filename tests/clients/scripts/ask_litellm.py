"""LiteLLM's SDK: two turns as its docs write them, streams, structures and tools, by two names of the provider."""

import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the price list comes from the package, not from the internet

import litellm
from pydantic import BaseModel
from steps import COLOURS, SHAPES, equal, run, step, task

TASK = task()
PROVIDERS = ("openai", "hosted_vllm")


class Thing(BaseModel):
    """A thing in the picture."""

    colour: COLOURS
    shape: SHAPES


TOOL = {
    "type": "function",
    "function": {"name": "remember", "description": "Remembers a thing.", "parameters": Thing.model_json_schema()},
}


def chat(provider: str, **options: Any) -> Any:
    defaults = {"messages": TASK.messages, "temperature": 0, "max_tokens": 60, "num_retries": 0}
    connection = {"model": f"{provider}/{TASK.model}", "api_base": TASK.url, "api_key": "none"}
    return litellm.completion(**connection | defaults | options)


@step("question about a picture")
def question() -> None:
    for provider in PROVIDERS:
        equal(chat(provider).choices[0].message.content, TASK.answer)


@step("streamed")
def stream() -> None:
    for provider in PROVIDERS:
        equal("".join(chunk.choices[0].delta.content or "" for chunk in chat(provider, stream=True)), TASK.answer)


@step("second turn after `messages.append(response.choices[0].message)`")
def second_turn() -> None:
    for provider in PROVIDERS:
        messages: list[Any] = [*TASK.messages]
        messages.append(chat(provider).choices[0].message)
        messages.append({"role": "user", "content": TASK.next_question})
        equal(chat(provider, messages=messages).choices[0].message.content, TASK.next_answer)


@step("response_format with a pydantic model")
def structured() -> None:
    for provider in PROVIDERS:
        Thing.model_validate_json(chat(provider, response_format=Thing).choices[0].message.content)


@step("tool_choice required, its message and result sent back")
def required_tool() -> None:
    for provider in PROVIDERS:
        message = chat(provider, tools=[TOOL], tool_choice="required").choices[0].message
        (call,) = message.tool_calls
        Thing.model_validate_json(call.function.arguments)
        result = {"role": "tool", "tool_call_id": call.id, "name": "remember", "content": "remembered"}
        assert chat(provider, messages=[*TASK.messages, message, result], tools=[TOOL]).choices[0].message.content


@step("tools with tool_choice auto")
def optional_tool() -> None:
    for provider in PROVIDERS:
        equal(chat(provider, tools=[TOOL], tool_choice="auto").choices[0].message.content, TASK.answer)


@step("`text_completion`")
def completion() -> None:
    answer = litellm.text_completion(
        model=f"text-completion-openai/{TASK.model}", prompt="A red", api_base=TASK.url, api_key="none", max_tokens=8
    )
    assert answer.choices[0].text


run("litellm")
