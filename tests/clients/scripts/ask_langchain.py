"""LangChain: ChatOpenAI with pictures, streams, the three methods of `with_structured_output`, tools and an agent."""

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from steps import COLOURS, SHAPES, equal, run, step, task

TASK = task()
MODEL = ChatOpenAI(
    model=TASK.model,
    base_url=TASK.url,
    api_key="none",
    temperature=0,
    max_completion_tokens=60,
    max_retries=0,
    stream_usage=True,
)
QUESTION = HumanMessage(TASK.parts)


class Thing(BaseModel):
    """A thing in the picture."""

    colour: COLOURS
    shape: SHAPES


@tool
def remember(colour: COLOURS, shape: SHAPES) -> str:
    """Remembers a thing."""
    return f"remembered a {colour} {shape}"


@step("question about a picture")
def question() -> None:
    equal(MODEL.invoke([QUESTION]).text, TASK.answer)


@step("standard image block")
def standard_block() -> None:
    image = {"type": "image", "base64": TASK.picture.partition(",")[2], "mime_type": "image/png"}
    equal(MODEL.invoke([HumanMessage([image, {"type": "text", "text": TASK.question}])]).text, TASK.answer)


@step("streamed with usage")
async def stream() -> None:
    text, tokens = "", 0
    async for chunk in MODEL.astream([QUESTION]):
        text += chunk.text
        tokens += chunk.usage_metadata["output_tokens"] if chunk.usage_metadata else 0
    equal(text, TASK.answer)
    assert tokens > 0


@step("second turn")
def second_turn() -> None:
    answer = MODEL.invoke([QUESTION])
    equal(MODEL.invoke([QUESTION, answer, HumanMessage(TASK.next_question)]).text, TASK.next_answer)


@step("`with_structured_output` by json_schema")
def json_schema() -> None:
    assert isinstance(MODEL.with_structured_output(Thing, method="json_schema").invoke([QUESTION]), Thing)


@step("by function_calling")
def function_calling() -> None:
    assert isinstance(MODEL.with_structured_output(Thing, method="function_calling").invoke([QUESTION]), Thing)


@step("by json_mode: an object begins; its fields are not held")
def json_mode() -> None:
    answer = MODEL.with_structured_output(Thing, method="json_mode", include_raw=True).invoke([QUESTION])
    assert answer["raw"].text.lstrip().startswith("{"), answer["raw"].text


@step("`bind_tools` with tool_choice any, a name, auto and none")
def bind_tools() -> None:
    for choice in ("any", "remember"):
        (call,) = MODEL.bind_tools([remember], tool_choice=choice).invoke([QUESTION]).tool_calls
        equal(call["name"], "remember")
        remember.invoke(call)
    for choice in ("auto", "none"):
        equal(MODEL.bind_tools([remember], tool_choice=choice).invoke([QUESTION]).text, TASK.answer)


@step("history with a call and its result")
def tool_history() -> None:
    answer = MODEL.bind_tools([remember], tool_choice="any").invoke([QUESTION])
    assert isinstance(answer, AIMessage)
    results: list[ToolMessage] = [remember.invoke(call) for call in answer.tool_calls]
    assert MODEL.bind_tools([remember]).invoke([QUESTION, answer, *results]).text


@step("`create_agent` with tools, and with response_format")
def agent() -> None:
    messages = create_agent(MODEL, tools=[remember]).invoke({"messages": [QUESTION]})["messages"]
    equal(messages[-1].text, TASK.answer)
    state = create_agent(MODEL, tools=[], response_format=Thing).invoke({"messages": [QUESTION]})
    assert isinstance(state["structured_response"], Thing)


run("langchain", "langchain-openai")
