"""POST /v1/chat/completions/plan."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from llava_interleave_serve.server.request_context import ServiceOf
from llava_interleave_serve.server.routes.chat import BODY_SCHEMA, parse

router = APIRouter()


@router.post("/v1/chat/completions/plan", openapi_extra=BODY_SCHEMA)
async def plan(request: Request, service: ServiceOf) -> JSONResponse:
    """What a chat request would cost: visuals and tokens by part, and whether it fits. Fetches nothing, runs nothing.

    A video may turn out shorter than planned; `exact` says whether one is among the parts.
    """
    with service.visit(request) as visit:
        chat = await parse(request, service, visit)
        return JSONResponse(await asyncio.to_thread(service.renderer.plan, chat))
