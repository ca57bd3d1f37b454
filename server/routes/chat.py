"""POST /v1/chat/completions."""

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_interleave_serve.server.errors import LimitExceeded
from llava_interleave_serve.server.openapi import examples
from llava_interleave_serve.server.openapi.answers import ChatCompletion, ChatCompletionChunk, described
from llava_interleave_serve.server.openapi.document import event_stream, request_body
from llava_interleave_serve.server.openapi.request_schema import chat_request_schema
from llava_interleave_serve.server.prompt import answer_logprobs, chat_request, request_counts
from llava_interleave_serve.server.request_context import CurrentServer, RequestContext, ServerState
from llava_interleave_serve.server.sse import LastEventDetector, respond, timed_events

router = APIRouter(tags=["chat"])
ANSWER = {"application/json": {"example": examples.ANSWER}}


def settle(chat: chat_request.ChatRequest, server: ServerState) -> chat_request.ChatRequest:
    """The request with the tools that the operator allows. Raises RequestError for others."""
    if not server.config.tools:
        return chat_request.without_calls(chat)
    return chat_request.without_optional_tools(chat) if server.config.omits_auto_tools else chat


async def read_chat_request(request: Request, server: ServerState, context: RequestContext) -> chat_request.ChatRequest:
    """The body as a chat request, whose model and sampling are checked too: before anything is fetched.

    Raises RequestError naming the field at fault.
    """
    limits = server.config.limits

    def validate(body: Any) -> chat_request.ChatRequest:
        request_counts.check(body, limits)
        return settle(chat_request.parse(body), server)

    chat = await server.bodies.read_json(request, context.reservation, context.requester, validate)
    server.check_model(chat.model)
    if chat.n is not None and chat.n > limits.max_choices:
        raise LimitExceeded(f"n is {chat.n}, more than the {limits.max_choices} allowed", param="n")
    facts = server.engine.facts
    most_tokens = facts.most_tokens(chat.most_tokens, facts.max_model_len)
    chat = answer_logprobs.bounded(chat, most_tokens, limits.max_answer_logprobs)
    await server.engine.check_sampling(chat.engine_fields)
    return chat


@router.post(
    "/v1/chat/completions",
    summary="Answer a conversation",
    openapi_extra=request_body(chat_request_schema(), examples.REQUESTS),
    responses=described(
        ChatCompletion,
        "The answer, whole or streamed",
        content=ANSWER | event_stream(ChatCompletionChunk, examples.EVENTS),
    ),
)
async def chat_completions(request: Request, server: CurrentServer) -> Response:
    """Answers a conversation of text, images, videos and camera views; whole, or streamed."""
    return await respond(request, server, read_chat_request, _answer)


async def _answer(
    server: ServerState, context: RequestContext, chat: chat_request.ChatRequest
) -> dict[str, Any] | AsyncGenerator[str, None]:
    """The answer as OpenAI's object, or a stream of its chunks."""
    rendered = await server.render(chat, context)
    salt = context.reservation.key if server.config.isolates_keys else ""
    answer = await server.engine.chat(rendered.token_ids, rendered.visuals, chat.engine_fields, context.timing, salt)
    if isinstance(answer, dict):
        return answer | {"media_usage": rendered.media_usage}
    return timed_events(answer, LastEventDetector(chat.sampling), context, media_usage=rendered.media_usage)
