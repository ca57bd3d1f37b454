"""instructor: its default mode, which is a named tool, its other modes, and streams of partial objects."""

from typing import Any

import instructor
import openai
from pydantic import BaseModel
from steps import COLOURS, SHAPES, equal, run, step, task

TASK = task()
CLIENT = openai.OpenAI(base_url=TASK.url, api_key="none", max_retries=0)


class Thing(BaseModel):
    """A thing in the picture."""

    colour: COLOURS
    shape: SHAPES


def extract(mode: instructor.Mode | None = None, **options: Any) -> Any:
    client = instructor.from_openai(CLIENT) if mode is None else instructor.from_openai(CLIENT, mode=mode)
    defaults = {"model": TASK.model, "messages": TASK.messages, "temperature": 0, "max_tokens": 60, "max_retries": 0}
    return client.chat.completions.create(**defaults | {"response_model": Thing} | options)


@step("default mode")
def default_mode() -> None:
    assert isinstance(extract(), Thing)


@step("`from_provider`, with instructor's own Image")
def provider() -> None:
    client = instructor.from_provider(f"openai/{TASK.model}", base_url=TASK.url, api_key="none")
    picture = instructor.Image.from_path(TASK.file)
    messages = [{"role": "user", "content": [TASK.question, picture]}]
    thing = client.chat.completions.create(
        messages=messages, response_model=Thing, temperature=0, max_tokens=60, max_retries=0
    )
    assert isinstance(thing, Thing)


@step("TOOLS_STRICT and JSON_SCHEMA")
def other_modes() -> None:
    for mode in (instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA):
        assert isinstance(extract(mode), Thing)


@step("partial objects, streamed")
def partial() -> None:
    things = list(extract(response_model=instructor.Partial[Thing], stream=True))
    Thing.model_validate(things[-1].model_dump())


@step("no response_model: the answer itself")
def plain() -> None:
    equal(extract(response_model=None).choices[0].message.content, TASK.answer)


run("instructor", "openai")
