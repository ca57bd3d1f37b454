"""The OpenAPI document at /openapi.json."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
REF_TEMPLATE = "#/components/schemas/{model}"


def body_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """What a route adds to its description: the JSON schema of its body, which `body.py` reads."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class ErrorDetail(BaseModel):
    """OpenAI's `error`; `param` names the part of the request that is at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error object."""

    error: ErrorDetail


class DescribedApp(FastAPI):
    """FastAPI with the parts of the OpenAPI document that it cannot derive.

    These are the error bodies, the event streams, and the request schema, since bodies are parsed by `body.py`.
    """

    def __init__(self, **options: Any) -> None:
        error = {"model": ErrorBody, "description": "OpenAI's error object"}
        super().__init__(responses={"4XX": error, "5XX": error}, **options)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = super().openapi()
            for described in schema["paths"].values():
                for operation in described.values():
                    for content in operation.get("requestBody", {}).get("content", {}).values():
                        # Pydantic leaves a model's parts beside it; OpenAPI looks for them among the components.
                        schema["components"]["schemas"] |= content["schema"].pop("$defs", {})
            for path in (CHAT, COMPLETIONS):
                schema["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"] = {}
            self.openapi_schema = schema
        return self.openapi_schema
