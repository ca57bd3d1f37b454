"""Requests for the token ids of a text or a chat, and for the text of token ids."""

from typing import Annotated, Any

from pydantic import FailFast, Field, ValidationError

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.prompt import chat_request, request_counts, strict_model
from llava_interleave_serve.server.prompt.strict_model import Strict
from llava_interleave_serve.server.prompt.text.completion_request import TokenId

StrictBool = Annotated[bool, Field(strict=True)]


class TokenizeOptions(Strict):
    """`return_token_strs`: the tokens' texts too."""

    return_token_strs: StrictBool | None = None


class TokenizeText(TokenizeOptions):
    """A text to tokenise. `add_special_tokens` changes nothing: these tokenisers add none."""

    prompt: str
    model: str | None = None
    add_special_tokens: StrictBool | None = None


class DetokenizeRequest(Strict):
    tokens: Annotated[list[TokenId], FailFast()]
    model: str | None = None


def parse_tokenize(body: Any, limits: Limits) -> tuple[TokenizeText | chat_request.ChatRequest, bool]:
    """What is to be tokenised, and whether the tokens' texts are wanted. Raises RequestError."""
    request_counts.check(body, limits)
    try:
        if not isinstance(body, dict) or "messages" not in body:
            text = TokenizeText.model_validate(body)
            return text, bool(text.return_token_strs)
        if "prompt" in body:
            raise RequestError("send a prompt or messages, and not both", param="prompt")
        names = TokenizeOptions.model_fields.keys()
        options = TokenizeOptions.model_validate({name: body[name] for name in names & body.keys()})
    except ValidationError as error:
        raise strict_model.first_error(error) from None
    chat = chat_request.parse({name: value for name, value in body.items() if name not in names})
    return chat, bool(options.return_token_strs)


def parse_detokenize(body: Any) -> DetokenizeRequest:
    """The request of a decoded JSON body. Raises RequestError naming the first field at fault."""
    try:
        return DetokenizeRequest.model_validate(body)
    except ValidationError as error:
        raise strict_model.first_error(error) from None
