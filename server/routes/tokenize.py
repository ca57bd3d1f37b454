"""POST /tokenize and POST /detokenize: the tokeniser's two directions. Nothing is fetched, and no engine is asked."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from llava_interleave_serve.server.openapi import examples
from llava_interleave_serve.server.openapi.answers import Detokenized, TokenIds, described
from llava_interleave_serve.server.openapi.document import request_body
from llava_interleave_serve.server.openapi.request_schema import REFERENCE, tokenize_request_schema
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.text import tokenize_request
from llava_interleave_serve.server.prompt.text.tokenize_request import DetokenizeRequest, TokenizeText
from llava_interleave_serve.server.request_context import CurrentServer, ServerState, unless_client_leaves
from llava_interleave_serve.server.routes.chat import settle

router = APIRouter(tags=["text"])
TOKENIZE_BODY = request_body(tokenize_request_schema(), examples.TOKENIZED)
DETOKENIZE_BODY = request_body(DetokenizeRequest.model_json_schema(ref_template=REFERENCE), examples.DETOKENIZED)
Tokenized = tuple[TokenizeText | chat_request.ChatRequest, bool]


@router.post(
    "/tokenize",
    summary="Tokenise a text or a conversation",
    openapi_extra=TOKENIZE_BODY,
    responses=described(TokenIds, "The tokens"),
)
async def tokenize(request: Request, server: CurrentServer) -> JSONResponse:
    """Tokenises a text, or a conversation as its prompt is written, a placeholder for each token of a visual."""

    def validate(body: object) -> Tokenized:
        asked, has_texts = tokenize_request.parse_tokenize(body, server.config.limits)
        return (settle(asked, server) if isinstance(asked, chat_request.ChatRequest) else asked), has_texts

    with server.admit(request) as context:
        context.span = "tokenize"
        async with server.within_deadline(context):
            asked, has_texts = await server.bodies.read_json(request, context.reservation, context.requester, validate)
            server.check_model(asked.model)
            renderer = server.renderer
            if isinstance(asked, TokenizeText):
                tokenizing = renderer.texts.tokenize(asked.prompt, context.requester)
            else:
                await server.engine.check_sampling(asked.sampling)
                tokenizing = renderer.tokenize(asked, context.requester)
            return JSONResponse(_answer(server, await unless_client_leaves(request, tokenizing), has_texts))


def _answer(server: ServerState, token_ids: list[int], has_texts: bool) -> dict[str, object]:
    most = server.engine.facts.max_model_len
    texts = {"token_strs": server.renderer.texts.token_texts(token_ids)} if has_texts else {}
    return {"count": len(token_ids), "max_model_len": most, "tokens": token_ids, **texts}


@router.post(
    "/detokenize",
    summary="Spell token ids",
    openapi_extra=DETOKENIZE_BODY,
    responses=described(Detokenized, "The text"),
)
async def detokenize(request: Request, server: CurrentServer) -> JSONResponse:
    """The text of token ids, control tokens spelled out."""
    with server.admit(request) as context:
        context.span = "detokenize"
        async with server.within_deadline(context):
            asked = await server.bodies.read_json(
                request, context.reservation, context.requester, tokenize_request.parse_detokenize
            )
            server.check_model(asked.model)
            text = server.renderer.texts.detokenize(asked.tokens, context.requester)
            return JSONResponse({"prompt": await unless_client_leaves(request, text)})
