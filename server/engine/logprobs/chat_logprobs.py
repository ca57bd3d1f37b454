"""Log probabilities of chats, made a few at a time: vLLM makes those of a whole answer while every request waits."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.logprobs.token_bytes import TokenBytes

TURN = 256  # log probabilities, about a millisecond
PART = 64  # log probabilities that are built at once


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
        """Builds the log probabilities of a result, if the request asks for them, and gives them to its choices."""
        outputs = [output for output in outputs if request.logprobs and output.logprobs]
        if outputs:
            await self._in_turns(self._built(request, outputs))

    async def _in_turns(self, parts: Iterator[int]) -> None:
        """Does parts of work of which each yields how many log probabilities it was of.

        In a pass of the event loop the work is of TURN of them, of all requests together; requests have their turns in
        the order in which they came.
        """
        is_done = False
        while not is_done:
            async with self._turn:
                done = 0
                for part in parts:
                    done += part
                    if done >= TURN:
                        break
                else:
                    is_done = True
                await asyncio.sleep(0)

    def _built(self, request: Any, outputs: Sequence[Any]) -> Iterator[int]:
        """Builds the log probabilities of choices, a few tokens at a time."""
        for output in outputs:
            logprobs, token_ids = BuiltLogprobs(output.logprobs), output.token_ids
            content: list[Any] = []
            tokens = max(1, PART // max(1, len(logprobs[0] or ())))
            # Of a beam that has ended, the end has log probabilities too, and is no token of the choice.
            for start in range(0, len(token_ids), tokens):
                part = slice(start, start + tokens)
                content += self._entries(request, token_ids[part], logprobs[part])
                yield sum(len(of_token or ()) for of_token in logprobs[part])
            logprobs.answer = vllm_compat.ChatCompletionLogProbs(content=content)
            output.logprobs = logprobs

    async def _dumped(self, answer: Any) -> dict[str, Any]:
        """The answer as JSON has it; its log probabilities in turns, as they were built."""
        contents: dict[int, Sequence[Any]] = {}
        for choice in answer.choices:
            if choice.logprobs is not None:
                contents[choice.index], choice.logprobs.content = choice.logprobs.content, []
        serving: Any = super()
        dumped: dict[str, Any] = await serving._dumped(answer)
        for choice in dumped["choices"]:
            if content := contents.get(choice["index"]):
                await self._in_turns(_dump(content, choice["logprobs"]["content"]))
        return dumped

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


def _dump(entries: Sequence[Any], dumped: list[Any]) -> Iterator[int]:
    """Adds the entries of tokens as JSON has them."""
    for entry in entries:
        dumped.append(entry.model_dump(mode="json", exclude_none=True))
        yield 1 + len(entry.top_logprobs)
