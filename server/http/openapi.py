"""The description of the HTTP interface at /openapi.json."""

import json
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

CHAT = "/v1/chat/completions"


class ErrorDetail(BaseModel):
    """What went wrong; `param` names the part of the request that is at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error object."""

    error: ErrorDetail


class DescribedApp(FastAPI):
    """FastAPI, whose description says what FastAPI does not see: errors, streams, and where schemas stand."""

    def __init__(self, **options: Any) -> None:
        refused = {"model": ErrorBody, "description": "OpenAI's error object"}
        super().__init__(responses={"4XX": refused, "5XX": refused}, **options)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            # Pydantic writes a model's parts beside it, and OpenAPI looks for them in one place.
            written = json.dumps(super().openapi()).replace("#/$defs/", "#/components/schemas/")
            schema: dict[str, Any] = json.loads(written)
            for path in schema["paths"].values():
                for operation in path.values():
                    for content in operation.get("requestBody", {}).get("content", {}).values():
                        schema["components"]["schemas"] |= content["schema"].pop("$defs", {})
            schema["paths"][CHAT]["post"]["responses"]["200"]["content"]["text/event-stream"] = {}
            self.openapi_schema = schema
        return self.openapi_schema
