"""The OpenAPI document: FastAPI's, with what it cannot derive, since `server/body.py` reads the bodies."""

import json
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from llava_interleave_serve.server.openapi.answers import ChatCompletionChunk, CompletionChunk, ErrorBody
from llava_interleave_serve.server.openapi.request_schema import REFERENCE, chat_request_schemas

EVENT_STREAM, DONE = "text/event-stream", "[DONE]"
TAGS = (
    ("chat", "Questions about text, images, videos and camera views, and what they cost."),
    ("text", "Text without a conversation, and its tokens."),
    ("models", "The model that is served."),
    ("operations", "For those who run the server."),
)
DESCRIPTION = """OpenAI's chat completions, with parts for videos, frames and camera views.

A field that is not honoured is refused by its name. Errors are OpenAI's error object, whose `param` names the part of
the request that is at fault. Every response has an `X-Request-Id`, answers have their phases in `Server-Timing`, and
a 429 says in `Retry-After` when to ask again."""


def request_body(schema: dict[str, Any], requests: dict[str, Any]) -> dict[str, Any]:
    """The description of a request's body, for `openapi_extra` of its routes. requests: examples by name."""
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": requests}}}
    }


def chat_request_body(requests: dict[str, Any]) -> dict[str, Any]:
    """The description of a chat request's body. requests: examples by name."""
    return request_body({"$ref": REFERENCE.format(model="ChatRequest")}, requests)


def event_stream(chunk_name: str, events: dict[str, Any]) -> dict[str, Any]:
    """The description of a streamed answer, by its content type, for `responses`.

    chunk_name: the schema of an event's data. events: examples of such data, by name. The schema is of one event:
    OpenAPI before 3.2 has no other word for the items of a stream.
    """
    chunk, error = ({"$ref": REFERENCE.format(model=name)} for name in (chunk_name, "ErrorBody"))
    content = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": [chunk, error]}}
    schema = {
        "type": "object",
        "description": "An event of the stream; the last one's data is `[DONE]`.",
        "properties": {"data": {"anyOf": [{"const": DONE}, content]}},
        "required": ["data"],
    }
    shown = {name: {"data": json.dumps(event)} for name, event in events.items()} | {"end": {"data": DONE}}
    return {EVENT_STREAM: {"schema": schema, "examples": {name: {"value": value} for name, value in shown.items()}}}


class DescribedApp(FastAPI):
    """FastAPI with a whole OpenAPI document. needs_key: True if clients must send an API key."""

    def __init__(self, *, needs_key: bool, **options: Any) -> None:
        error = {"model": ErrorBody, "description": "OpenAI's error object"}
        super().__init__(
            responses={"4XX": error, "5XX": error},
            openapi_url=None,  # routes/documents.py serves the document
            docs_url=None,
            redoc_url=None,
            description=DESCRIPTION,
            openapi_tags=[{"name": name, "description": description} for name, description in TAGS],
            generate_unique_id_function=_operation_id,
            **options,
        )
        self._needs_key = needs_key

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document["components"]["schemas"]
            schemas |= chat_request_schemas()
            for model in (ChatCompletionChunk, CompletionChunk):
                chunk = model.model_json_schema(ref_template=REFERENCE)
                schemas |= chunk.pop("$defs") | {model.__name__: chunk}
            for path in document["paths"].values():
                for operation in path.values():
                    for content in operation.get("requestBody", {}).get("content", {}).values():
                        # Pydantic leaves a model's parts beside it; OpenAPI looks for them among the components.
                        for name, part in content["schema"].pop("$defs", {}).items():
                            schemas.setdefault(name, part)
            scheme = {"type": "http", "scheme": "bearer", "description": "A key of `--api-key`."}
            document["components"]["securitySchemes"] = {"apiKey": scheme}
            document["security"] = [{"apiKey": []}] if self._needs_key else [{}, {"apiKey": []}]
            self.openapi_schema = document
        return self.openapi_schema


def _operation_id(route: APIRoute) -> str:
    """The operation's id, after which clients that are generated name their methods."""
    return route.name
