"""POST /v1/chat/completions/plan."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from llava_interleave_serve.server.openapi import examples
from llava_interleave_serve.server.openapi.answers import Plan, described
from llava_interleave_serve.server.openapi.document import request_body
from llava_interleave_serve.server.openapi.request_schema import chat_request_schema
from llava_interleave_serve.server.request_context import CurrentServer, unless_client_leaves
from llava_interleave_serve.server.routes.chat import read_chat_request

router = APIRouter(tags=["chat"])


@router.post(
    "/v1/chat/completions/plan",
    summary="Estimate a request's cost",
    openapi_extra=request_body(chat_request_schema(), examples.PLANNED),
    responses=described(Plan, "The cost", content={"application/json": {"example": examples.PLAN}}),
)
async def plan(request: Request, server: CurrentServer) -> JSONResponse:
    """Estimates the cost of a chat request: visuals and tokens by part, and whether it fits. Fetches and runs nothing.

    A video may turn out shorter than planned, and an image through any resolution smaller; `exact` is false if such a
    part is among them.
    """
    with server.admit(request) as context:
        context.span = "plan"
        async with server.within_deadline(context):
            chat = await read_chat_request(request, server, context)
            cost = server.renderer.describe_cost(chat, context.requester)
            return JSONResponse(await unless_client_leaves(request, cost))
