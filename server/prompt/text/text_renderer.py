"""Texts and token ids without a conversation: the prompts of completions, and the tokeniser's two directions."""

from collections.abc import Sequence
from dataclasses import dataclass

from llava_interleave_serve.server.engine.base import ModelFacts, TextPrompt
from llava_interleave_serve.server.errors import ContextOverflow, LimitExceeded, RequestError
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.fair_threads import FairThreads
from llava_interleave_serve.server.media.requester import Requester
from llava_interleave_serve.server.prompt.text.completion_request import CompletionRequest, Prompt, param_of
from llava_interleave_serve.server.prompt.tokenizer import TextTokenizer

IMAGE = "<image>"  # the placeholder of a visual, spelled out


@dataclass(frozen=True, slots=True)
class TextRenderer:
    """Renders texts for one model, in threads that requests have in turn. Its methods raise RequestError.

    Text that spells a control token is text. The placeholder of a visual is refused among token ids.
    """

    facts: ModelFacts
    limits: Limits
    tokenizer: TextTokenizer
    threads: FairThreads

    async def prompts(self, request: CompletionRequest, requester: Requester) -> list[TextPrompt]:
        """The prompts of a completion, each with room for an answer."""
        return await self.threads.run(requester, self._prompts, request)

    async def tokenize(self, text: str, requester: Requester) -> list[int]:
        """The token ids of a text. Raises ContextOverflow for more than the context has."""
        return await self.threads.run(requester, self._encode, text, "prompt")

    async def detokenize(self, token_ids: list[int], requester: Requester) -> str:
        """The text of token ids, control tokens spelled out."""
        self._check_ids(token_ids, "tokens")
        return await self.threads.run(requester, self._decode, token_ids)

    def token_texts(self, token_ids: list[int]) -> list[str]:
        """The text of each token id by itself."""
        texts = self.tokenizer.token_texts(token_ids)
        return [IMAGE if each == self.facts.image_token else text for each, text in zip(token_ids, texts, strict=True)]

    def _decode(self, token_ids: list[int]) -> str:
        """The text of token ids. The placeholder of a visual may be an id that the tokeniser does not have."""
        pieces: list[list[int]] = [[]]
        for token_id in token_ids:
            if token_id == self.facts.image_token:
                pieces.append([])
            else:
                pieces[-1].append(token_id)
        return IMAGE.join(map(self.tokenizer.decode, pieces))

    def _prompts(self, request: CompletionRequest) -> list[TextPrompt]:
        prompts = [
            self._prompt(prompt, param_of(request.prompt, index), is_echoed=bool(request.echo))
            for index, prompt in enumerate(request.prompt)
        ]
        self._check_logprobs(request, sum(len(prompt.token_ids) for prompt in prompts))
        return prompts

    def _prompt(self, prompt: Prompt, param: str, *, is_echoed: bool) -> TextPrompt:
        most = self.facts.max_model_len
        if isinstance(prompt, str):
            text, token_ids = prompt, self._encode(prompt, param)
        else:
            text, token_ids = "", prompt
        if self.facts.image_token in token_ids:
            raise RequestError(
                f"token {self.facts.image_token} stands for a visual, which only a chat can show", param=param
            )
        if not isinstance(prompt, str):
            self._check_ids(prompt, param)
            text = self.tokenizer.decode(prompt) if is_echoed else ""
        if len(token_ids) >= most:
            raise ContextOverflow(
                f"the prompt takes {len(token_ids)} tokens, and this model's context has {most}", param=param
            )
        return TextPrompt(token_ids, text)

    def _encode(self, text: str, param: str) -> list[int]:
        most = self.facts.max_model_len
        too_long = ContextOverflow(f"the text takes more than the {most} tokens of this model's context", param=param)
        if len(text) > most * self.tokenizer.longest_token:  # in bytes it is no shorter
            raise too_long
        token_ids = self.tokenizer.encode(text, most)
        if len(token_ids) > most:
            raise too_long
        return token_ids

    def _check_ids(self, token_ids: Sequence[int], param: str) -> None:
        if len(token_ids) > self.facts.max_model_len:
            raise ContextOverflow(
                f"these are {len(token_ids)} tokens, and this model's context has {self.facts.max_model_len}",
                param=param,
            )
        known = self.tokenizer.vocabulary_size
        unknown = next((each for each in token_ids if each >= known and each != self.facts.image_token), None)
        if unknown is not None:
            raise RequestError(f"there is no token {unknown}", param=param)

    def _check_logprobs(self, request: CompletionRequest, tokens: int) -> None:
        """Raises LimitExceeded for more log probabilities of the prompts than a request may ask for."""
        each, most = request.prompt_logprobs_each, self.limits.max_prompt_logprobs
        tokens *= request.n or 1  # vLLM repeats them in each choice
        if each is not None and tokens * (each + 1) > most:
            field = "logprobs" if request.prompt_logprobs is None else "prompt_logprobs"
            beside = " beside echo" if request.prompt_logprobs is None else ""
            raise LimitExceeded(
                f"{field}{beside}: {tokens} tokens with {each + 1} each are more than the {most} of a prompt that this "
                "server allows",
                param=field,
            )
