"""openai-python: its methods for chats, structures, tools and completions."""

import json
from typing import Any

import openai
from pydantic import BaseModel
from steps import COLOURS, SHAPES, equal, run, step, task

TASK = task()
OPTIONS: dict[str, Any] = {"model": TASK.model, "temperature": 0, "max_tokens": 60}
CLIENT = openai.OpenAI(base_url=TASK.url, api_key="none", max_retries=0)


class Thing(BaseModel):
    """A thing in the picture."""

    colour: COLOURS
    shape: SHAPES


TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "remember",
        "description": "Remembers a thing.",
        "parameters": Thing.model_json_schema(),
    },
}


def chat(**options: Any) -> Any:
    return CLIENT.chat.completions.create(**{"messages": TASK.messages} | OPTIONS | options)


@step("list of models")
def models() -> None:
    equal([model.id for model in CLIENT.models.list()], [TASK.model])
    equal(CLIENT.models.retrieve(TASK.model).id, TASK.model)


@step("question about a picture")
def question() -> None:
    equal(chat().choices[0].message.content, TASK.answer)


@step("streamed with usage")
def stream() -> None:
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), TASK.answer)
    assert chunks[-1].usage.completion_tokens > 0


@step("async client")
async def asynchronous() -> None:
    async with openai.AsyncOpenAI(base_url=TASK.url, api_key="none", max_retries=0) as client:
        answer = await client.chat.completions.create(messages=TASK.messages, **OPTIONS)
    equal(answer.choices[0].message.content, TASK.answer)


@step("second turn after the answer's own message")
def second_turn() -> None:
    messages = [*TASK.messages, chat().choices[0].message, {"role": "user", "content": TASK.next_question}]
    equal(chat(messages=messages).choices[0].message.content, TASK.next_answer)


@step("`parse` with a pydantic model")
def parse() -> None:
    answer = CLIENT.chat.completions.parse(messages=TASK.messages, response_format=Thing, **OPTIONS)
    assert isinstance(answer.choices[0].message.parsed, Thing)


@step("tool_choice named")
def named_tool() -> None:
    choice = chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "remember"}}).choices[0]
    (call,) = choice.message.tool_calls
    equal(call.function.name, "remember")
    Thing.model_validate_json(call.function.arguments)


@step("tool_choice required, and the tool's result sent back")
def required_tool() -> None:
    choice = chat(tools=[TOOL], tool_choice="required").choices[0]
    equal(choice.finish_reason, "tool_calls")
    call = choice.message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "remembered"}
    messages = [*TASK.messages, choice.message, result, {"role": "user", "content": TASK.next_question}]
    assert chat(messages=messages, tools=[TOOL]).choices[0].message.content


@step("tool_choice required, streamed")
def streamed_tool() -> None:
    name, arguments = "", ""
    for chunk in chat(tools=[TOOL], tool_choice="required", stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    equal(name, "remember")
    Thing.model_validate_json(arguments)


@step("tool_choice auto and none")
def optional_tool() -> None:
    for choice in ("auto", "none"):
        equal(chat(tools=[TOOL], tool_choice=choice).choices[0].message.content, TASK.answer)


@step("completion, whole and streamed")
def completion() -> None:
    whole = CLIENT.completions.create(prompt="A red", **OPTIONS)
    streamed = CLIENT.completions.create(prompt="A red", stream=True, **OPTIONS)
    equal("".join(chunk.choices[0].text for chunk in streamed), whole.choices[0].text)


@step("errors by their class")
def errors() -> None:
    try:
        chat(model="unknown")
    except openai.NotFoundError as error:
        equal(error.code, "model_not_found")
    else:
        raise AssertionError("an unknown model was answered")
    try:
        chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]}])
    except openai.BadRequestError as error:
        equal(json.loads(error.response.content)["error"]["param"], "messages[0].content[0].image_url.url")
    else:
        raise AssertionError("a damaged picture was answered")


run("openai")
