"""The OpenAPI document is valid, describes what the server takes and answers, and its examples are true."""

import json
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from llava_interleave_serve.benchmarks.openai_api import sse
from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.openapi import examples, sampling_fields
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.text import completion_request
from tests.support.app_client import CHAT, HELLO, PLAN, serving
from tests.support.scene_parts import image_url

pytestmark = pytest.mark.anyio
# What OpenAI's own types know; the parts that are this server's are not among them.
OPENAI_EXAMPLES = ("image", "interleaved", "turns", "schema")


async def document(**config: Any) -> dict[str, Any]:
    async with serving(**config) as client:
        described: dict[str, Any] = (await client.get("/openapi.json")).json()
    return described


def events(stream: str) -> list[Any]:
    """The JSON objects of a stream, which ends as it should."""
    *objects, end = [event.data for event in sse.events([(0.0, stream.encode())])]
    assert end == sse.DONE
    return objects


def validator(described: dict[str, Any], name: str) -> jsonschema.Draft202012Validator:
    """Validates by a component of the document."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    return jsonschema.Draft202012Validator(schema)


async def test_the_document_is_valid_openapi() -> None:
    openapi_spec_validator.validate(await document())
    openapi_spec_validator.validate(await document(api_keys=("right",)))


async def test_operations_have_stable_ids_summaries_and_known_tags() -> None:
    described = await document()
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert {"chat_completions", "plan", "models", "model", "health", "ready", "metrics"} <= set(names)
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in described["tags"]}
    for operation in operations:
        assert operation["summary"]
        assert set(operation["tags"]) <= tags
        assert len(operation["tags"]) == 1


async def test_a_key_is_asked_for_where_the_server_asks_for_one() -> None:
    described = await document(api_keys=("right",))
    assert described["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    assert described["security"] == [{"apiKey": []}]
    is_open = {path for path, methods in described["paths"].items() if methods.get("get", {}).get("security") == []}
    assert is_open == {"/health", "/ping", "/ready"}
    assert {} in (await document())["security"]


async def test_both_routes_take_the_one_schema_of_a_chat_request() -> None:
    described = await document()
    for path in (CHAT, PLAN):
        content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ChatRequest"}


async def test_every_field_is_described_one_by_one() -> None:
    properties = (await document())["components"]["schemas"]["ChatRequest"]["properties"]
    assert set(sampling_fields.SCHEMAS) == chat_request.ChatRequest.sampling_fields
    assert properties.keys() >= chat_request.ChatRequest.sampling_fields | chat_request.ChatRequest.model_fields.keys()
    for name, field in properties.items():
        assert field["description"], name


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"temperature": 0.5}, {"temperature": None}, {"stop": "x"}, {"stop": ["x", "y"]}, {"logit_bias": {"3": -1}},
        {"top_k": -1}, {"n": 2}, {"user": "x"}, {"user": 5}, {"tool_choice": "none"}, {"service_tier": "auto"},
        {"stream_options": {"include_usage": True}, "stream": True}, {"response_format": {"type": "text"}},
        {"messages": [{"role": "user", "content": "x", "name": "y", "cache_control": {}}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}]},
    ],
    ids=str,
)  # fmt: skip
async def test_the_schema_and_the_server_take_the_same_bodies(fields: dict[str, Any]) -> None:
    chat_request.parse({**HELLO, **fields})
    validator(await document(), "ChatRequest").validate({**HELLO, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"temprature": 0}, {"service_tier": "flex"}, {"tool_choice": "sometimes"}, {"n": 0}, {"max_tokens": 0},
        {"stream": "yes"}, {"messages": []}, {"max_visual_tokens": 0}, {"stream_options": {"other": 1}},
        {"messages": [{"role": "user", "content": "x", "words": 3}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,", "size": 3}}]}]},
    ],
    ids=str,
)  # fmt: skip
async def test_the_schema_and_the_server_refuse_the_same_bodies(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        chat_request.parse({**HELLO, **fields})
    assert not validator(await document(), "ChatRequest").is_valid({**HELLO, **fields})


@pytest.mark.parametrize("name", examples.REQUESTS)
async def test_the_server_answers_the_examples(name: str) -> None:
    described = await document()
    request = described["paths"][CHAT]["post"]["requestBody"]["content"]["application/json"]["examples"][name]["value"]
    validator(described, "ChatRequest").validate(request)
    async with serving() as client:
        answer = await client.post(CHAT, json=request)
    assert answer.status_code == 200, answer.text
    if request.get("stream"):
        for event in events(answer.text):
            validator(described, "ChatCompletionChunk").validate(event)
    else:
        validator(described, "ChatCompletion").validate(answer.json())


@pytest.mark.parametrize("name", examples.PLANNED)
async def test_the_server_plans_the_examples(name: str) -> None:
    described = await document()
    async with serving() as client:
        answer = await client.post(PLAN, json=examples.PLANNED[name]["value"])
        models = (await client.get("/v1/models")).json()
    assert answer.status_code == 200, answer.text
    validator(described, "Plan").validate(answer.json())
    validator(described, "ModelList").validate(models)


async def test_openais_types_take_the_examples() -> None:
    for name in OPENAI_EXAMPLES:
        request = {"model": "any", **examples.REQUESTS[name]["value"], "stream": False}
        request.pop("stream_options", None)
        TypeAdapter(CompletionCreateParamsNonStreaming).validate_python(request)
    for event in examples.EVENTS.values():
        ChatCompletionChunk.model_validate(event, strict=True)
    ChatCompletion.model_validate(examples.ANSWER, strict=True)


async def test_the_examples_of_answers_are_of_their_schemas() -> None:
    described = await document()
    content = described["paths"][CHAT]["post"]["responses"]["200"]["content"]
    validator(described, "ChatCompletion").validate(content["application/json"]["example"])
    stream = content["text/event-stream"]
    *data, end = [example["value"]["data"] for example in stream["examples"].values()]
    assert {"const": end} in stream["schema"]["properties"]["data"]["anyOf"]
    for event in data:
        validator(described, "ChatCompletionChunk").validate(json.loads(event))
    plan = described["paths"][PLAN]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    validator(described, "Plan").validate(plan)


async def test_errors_and_media_usage_are_of_their_schemas() -> None:
    described = await document()
    video = {"type": "video_url", "video_url": {"url": image_url(1)}}
    async with serving() as client:
        refused = await client.post(CHAT, json={"messages": [{"role": "user", "content": [video]}]})
    assert refused.status_code == 400
    validator(described, "ErrorBody").validate(refused.json())


def test_vllm_reads_every_field_as_it_is_described() -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    for name, schema in sampling_fields.SCHEMAS.items():
        assert name in ChatCompletionRequest.model_fields
        for value in _values(schema):
            beside = {"stream_options": {"stream": True}, "top_logprobs": {"logprobs": True}}.get(name, {})
            ChatCompletionRequest.model_validate({"messages": [], name: value} | beside)


def _values(schema: dict[str, Any]) -> list[Any]:
    """Values that a field's schema allows: its default and its bounds."""
    bounds = [schema[name] for name in ("default", "minimum", "maximum") if name in schema]
    of_type: dict[str, list[Any]] = {"string": ["x"], "boolean": [True, False], "array": [[]], "object": [{}]}
    return bounds if schema.get("properties") else bounds + of_type.get(schema.get("type", ""), [])


async def test_what_vllm_answers_is_of_the_schemas() -> None:
    from vllm.entrypoints.openai.chat_completion import protocol as vllm

    described = await document()
    token = {"token": "A", "logprob": -0.1, "bytes": [65]}
    logprobs = {"content": [{**token, "top_logprobs": [token]}]}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    choice = {"index": 0, "logprobs": logprobs, "finish_reason": "stop", "token_ids": [1]}
    message = {"role": "assistant", "content": "A"}
    whole = vllm.ChatCompletionResponse(model="m", choices=[{**choice, "message": message}], usage=usage)
    answer = whole.model_dump(mode="json", exclude_none=True) | {"media_usage": examples.ANSWER["media_usage"]}
    validator(described, "ChatCompletion").validate(answer)
    event = vllm.ChatCompletionStreamResponse(model="m", choices=[{**choice, "delta": message}], usage=usage)
    validator(described, "ChatCompletionChunk").validate(event.model_dump(mode="json"))


async def test_a_completion_is_described_field_by_field() -> None:
    described = await document()
    schema = described["components"]["schemas"]["CompletionRequest"]
    assert schema["properties"].keys() >= completion_request.CompletionRequest.sampling_fields - {"logit_bias"}
    assert schema["additionalProperties"] is False
    bodies = validator(described, "CompletionRequest")
    for fields in ({}, {"temperature": 0.5}, {"stop": ["x"]}, {"suffix": ""}, {"best_of": 1}, {"user": "x"}):
        completion_request.parse({"prompt": "x", **fields})
        bodies.validate({"prompt": "x", **fields})
    for refused in ({"temprature": 1}, {"suffix": "x"}, {"use_beam_search": True}):
        with pytest.raises(RequestError):
            completion_request.parse({"prompt": "x", **refused})
        assert not bodies.is_valid({"prompt": "x", **refused})


async def test_a_conversation_that_is_tokenised_may_ask_for_the_texts_of_tokens() -> None:
    validator(await document(), "TokenizeConversation").validate({**HELLO, "return_token_strs": True})
