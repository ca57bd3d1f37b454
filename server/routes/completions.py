"""POST /v1/completions."""

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_interleave_serve.server.errors import LimitExceeded
from llava_interleave_serve.server.openapi import examples
from llava_interleave_serve.server.openapi.answers import Completion, CompletionChunk, described
from llava_interleave_serve.server.openapi.document import event_stream, request_body
from llava_interleave_serve.server.openapi.request_schema import completion_request_schema
from llava_interleave_serve.server.prompt import answer_logprobs
from llava_interleave_serve.server.prompt.text import completion_request
from llava_interleave_serve.server.prompt.text.completion_request import CompletionRequest
from llava_interleave_serve.server.request_context import CurrentServer, RequestContext, ServerState
from llava_interleave_serve.server.sse import LastEventDetector, respond, timed_events

router = APIRouter(tags=["text"])
BODY = request_body(completion_request_schema(), examples.COMPLETIONS)
ANSWER = {"application/json": {"example": examples.COMPLETION}}


@router.post(
    "/v1/completions",
    summary="Go on with a text",
    openapi_extra=BODY,
    responses=described(
        Completion,
        "The answer, whole or streamed",
        content=ANSWER | event_stream(CompletionChunk, examples.COMPLETION_EVENTS),
    ),
)
async def completions(request: Request, server: CurrentServer) -> Response:
    """Goes on with texts or token ids, without the turns of a conversation; whole, or streamed."""
    return await respond(request, server, _read, _answer)


async def _read(request: Request, server: ServerState, context: RequestContext) -> CompletionRequest:
    """The body, whose model and sampling are checked too. Raises RequestError naming the field at fault."""
    context.span = "text_completion"
    completion = await server.bodies.read_json(
        request, context.reservation, context.requester, completion_request.parse
    )
    server.check_model(completion.model)
    limits, prompts = server.config.limits, len(completion.prompt)
    choices, most = (completion.n or 1) * prompts, limits.max_choices
    if choices > most:
        field = "n" if prompts <= most else "prompt"
        raise LimitExceeded(f"{field}: these are {choices} choices, more than the {most} allowed", param=field)
    facts = server.engine.facts
    asked = completion_request.DEFAULT_TOKENS if completion.max_tokens is None else completion.max_tokens
    tokens = facts.most_tokens(asked, facts.max_model_len)
    answer_logprobs.check(completion.sampling, tokens, limits.max_answer_logprobs, prompts)
    context.keep(answer_logprobs.kept_bytes(completion.sampling, tokens, prompts))
    await server.engine.check_completion(completion.sampling)
    return completion


async def _answer(
    server: ServerState, context: RequestContext, completion: CompletionRequest
) -> dict[str, Any] | AsyncGenerator[str, None]:
    context.timing.add_since_arrival("admission")
    prompts = await server.renderer.texts.prompts(completion, context.requester)
    salt = context.reservation.key if server.config.isolates_keys else ""
    answer = await server.engine.complete(prompts, completion.sampling, context.timing, salt)
    if isinstance(answer, dict):
        return answer
    is_last = LastEventDetector(completion.sampling, len(prompts))
    return timed_events(answer, is_last, context)
