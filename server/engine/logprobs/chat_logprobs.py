"""Log probabilities of chats, built a few at a time: vLLM builds those of a whole result while every request waits."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.logprobs.token_bytes import TokenBytes

TURN = 256  # log probabilities, about a millisecond
CHUNK = 8  # tokens whose log probabilities are built at once


class BuiltLogprobs(list[Any]):
    """The log probabilities of a choice as the engine gives them: for each token, a dictionary by token id.

    Attributes:
        answer: vLLM's ChatCompletionLogProbs, which the client gets.

    """

    answer: Any


class ChatLogprobs:
    """Mixed into vLLM's serving of chats, before it.

    Attributes:
        token_bytes: the bytes of tokens, if the vocabulary is of bytes.

    """

    renderer: Any
    token_bytes: TokenBytes | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._turn = asyncio.Lock()

    async def build_logprobs(self, request: Any, outputs: Sequence[Any]) -> None:
        """Builds the log probabilities of a result, if the request asks for them, and gives them to its choices.

        In a pass of the event loop TURN of them are built, of all requests together; requests have their turns in the
        order in which they came.
        """
        parts = self._parts(request, [output for output in outputs if request.logprobs and output.logprobs])
        part = next(parts, None)
        while part is not None:
            async with self._turn:
                built = 0
                while part is not None and built < TURN:
                    built += part
                    part = next(parts, None)
                await asyncio.sleep(0)

    def _parts(self, request: Any, outputs: Sequence[Any]) -> Iterator[int]:
        """Yields, after each CHUNK of tokens, how many log probabilities were built."""
        for output in outputs:
            logprobs, token_ids = BuiltLogprobs(output.logprobs), output.token_ids
            content: list[Any] = []
            # Of a beam that has ended, the end has log probabilities too, and is no token of the choice.
            for start in range(0, len(token_ids), CHUNK):
                chunk = slice(start, start + CHUNK)
                content += self._entries(request, token_ids[chunk], logprobs[chunk])
                yield sum(len(of_token or ()) for of_token in logprobs[chunk])
            logprobs.answer = vllm_compat.ChatCompletionLogProbs(content=content)
            output.logprobs = logprobs

    def _entries(self, request: Any, token_ids: Sequence[int], logprobs: Sequence[dict[int, Any] | None]) -> list[Any]:
        """vLLM's entries of tokens, with the bytes of each token, which vLLM makes of the token's text."""
        serving: Any = super()
        entries: list[Any] = serving._create_chat_logprobs(
            token_ids=token_ids,
            top_logprobs=logprobs,
            tokenizer=self.renderer.tokenizer,
            num_output_top_logprobs=request.top_logprobs,
            logprob_token_ids=request.logprob_token_ids,
            return_as_token_id=request.return_tokens_as_token_ids,
        ).content
        if self.token_bytes is not None:
            for entry, token_id, likeliest in zip(entries, token_ids, logprobs, strict=False):
                entry.bytes = list(self.token_bytes.of(token_id))
                for other, other_id in zip(entry.top_logprobs, likeliest or (), strict=False):
                    other.bytes = list(self.token_bytes.of(other_id))
        return entries

    def _create_chat_logprobs(self, token_ids: Any, top_logprobs: Any, *args: Any, **options: Any) -> Any:
        """vLLM's hook: what has been built."""
        if isinstance(top_logprobs, BuiltLogprobs):
            return top_logprobs.answer
        serving: Any = super()
        return serving._create_chat_logprobs(token_ids, top_logprobs, *args, **options)
