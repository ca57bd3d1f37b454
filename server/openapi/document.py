"""The OpenAPI document: FastAPI's, with what it cannot derive, since `server/body.py` reads the bodies."""

import json
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from llava_interleave_serve.server.openapi.answers import ChatCompletionChunk, CompletionChunk, ErrorBody
from llava_interleave_serve.server.openapi.request_schema import REFERENCE

CHUNKS: tuple[type[BaseModel], ...] = (ChatCompletionChunk, CompletionChunk)  # of streams
EVENT_STREAM, DONE = "text/event-stream", "[DONE]"
TAGS = (
    ("chat", "Questions about text, images, videos and camera views, and what they cost."),
    ("text", "Text without a conversation, and its tokens."),
    ("models", "The model that is served, and its adapters."),
    ("operations", "For those who run the server."),
)
DESCRIPTION = """OpenAI's chat completions, with parts for videos, frames and camera views.

A field that is not honoured is refused by its name. Errors are OpenAI's error object, whose `param` names the part of
the request that is at fault. Every response has an `X-Request-Id`, answers have their phases in `Server-Timing`, and
a 429 says in `Retry-After` when to ask again."""


def request_body(schema: dict[str, Any], requests: dict[str, Any]) -> dict[str, Any]:
    """The description of a body that `server/body.py` reads, for `openapi_extra` of its routes.

    schema: a titled one becomes a component of the document. requests: examples by name.
    """
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": requests}}}
    }


def event_stream(chunk: type[BaseModel], events: dict[str, Any]) -> dict[str, Any]:
    """The description of a streamed answer, by its content type, for `responses`.

    The schema is of one event: OpenAPI before 3.2 has no other word for the items of a stream. chunk: one of CHUNKS.
    events: examples of it by name.
    """
    data = [{"$ref": REFERENCE.format(model=model.__name__)} for model in (chunk, ErrorBody)]
    content = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": data}}
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
            for path in document["paths"].values():
                for operation in path.values():
                    for content in operation.get("requestBody", {}).get("content", {}).values():
                        content["schema"] = _as_component(content["schema"], schemas)
            for chunk in CHUNKS:
                _as_component(chunk.model_json_schema(ref_template=REFERENCE), schemas)
            scheme = {"type": "http", "scheme": "bearer", "description": "A key of `--api-key`."}
            document["components"]["securitySchemes"] = {"apiKey": scheme}
            document["security"] = [{"apiKey": []}] if self._needs_key else [{}, {"apiKey": []}]
            self.openapi_schema = document
        return self.openapi_schema


def _as_component(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A reference to the schema, which is put among the document's schemas with those that pydantic left beside it.

    Of two with one name the first stays. A choice of several schemas, which has no title, is returned as it is.
    """
    for name, part in schema.get("$defs", {}).items():
        schemas.setdefault(name, part)
    own = {name: value for name, value in schema.items() if name != "$defs"}
    if "title" not in own:
        return own
    schemas.setdefault(own["title"], own)
    return {"$ref": REFERENCE.format(model=own["title"])}


def _operation_id(route: APIRoute) -> str:
    """The operation's id, after which clients that are generated name their methods."""
    return route.name
