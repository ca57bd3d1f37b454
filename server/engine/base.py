"""The engine as the rest of the server sees it; imports no vLLM."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from llava_interleave_serve.model_executor.visual import Visual, VisualFormat
from llava_interleave_serve.server.observability.timing import RequestTiming

# The fields of a request that ask for an answer of a certain structure.
STRUCTURE_FIELDS = ("response_format", "structured_outputs")

# Styles of prompts: this server's own, and those of the authors' programs.
# chat: a newline after each visual that no white space follows; what this server writes for the hub's checkpoints.
# preprocess_qwen: the function of that name in LLaVA-NeXT's llava/eval/model_vqa.py: a newline token after each visual,
#   whatever follows, and every text between visuals tokenised alone.
# bench: what the program model_vqa.py makes of it in later turns, too: the system block stands before each of the
#   user's turns, with no newline after the answer before it.
# demo: LLaVA-NeXT's playground/demo/interleave_demo.py: the conversation template cut at the visuals, each piece
#   tokenised as a whole, with nothing after a visual, and without the trained newline.
PromptStyle = Literal["chat", "preprocess_qwen", "bench", "demo"]
# What is seen where a picture is transparent: white, or the colours beneath, by dropping the alpha channel.
Transparency = Literal["white", "drop"]
TRANSPARENCIES: tuple[Transparency, ...] = get_args(Transparency)
PROMPT_STYLES: tuple[PromptStyle, ...] = get_args(PromptStyle)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Properties of the model that the front end needs.

    Attributes:
        name: name under which the model is served.
        max_model_len: tokens of its context.
        image_size: side of a view, in pixels.
        grid: patches along the side of a view.
        image_token: token id of the placeholder.
        tokenizer: JSON text of `tokenizer.json`.
        visual_format: how the checkpoint reads pictures and videos.
        prompt_style: of the prompts that the checkpoint was evaluated with.
        transparency: how the checkpoint was evaluated with pictures that have any.
        sampling_defaults: what a request that does not say is sampled with, as the checkpoint's generation_config.json
            has it; `output_repetition_penalty` is over generated tokens alone.
        answer_ceiling: tokens that no answer may exceed, whatever a request says, as the operator has set
            `max_new_tokens`; None without.
        adapters: names of LoRA adapters, which are asked for like the model.

    """

    name: str
    max_model_len: int
    image_size: int
    grid: int
    image_token: int
    tokenizer: str
    visual_format: VisualFormat = VisualFormat()
    prompt_style: PromptStyle = "chat"
    transparency: Transparency = "white"
    sampling_defaults: Mapping[str, Any] = field(default_factory=dict)
    answer_ceiling: int | None = None
    adapters: tuple[str, ...] = ()

    def most_tokens(self, asked: int | None, left: int) -> int:
        """The most tokens that an answer can have, as vLLM's get_max_tokens has it.

        asked: by the request; None if it does not say. left: what the prompt leaves of the context.
        """
        if asked is None:
            asked = self.sampling_defaults.get("max_tokens")
        return min(most for most in (left, asked, self.answer_ceiling) if most is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that a request may ask for: the model's, and those of its adapters."""
        return self.name, *self.adapters


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """A prompt of a completion.

    Attributes:
        token_ids: the prompt.
        text: what is echoed of it.

    """

    token_ids: list[int]
    text: str


class Engine(Protocol):
    """A model that answers rendered prompts."""

    @property
    def facts(self) -> ModelFacts: ...

    @property
    def alive(self) -> bool:
        """False once the engine has died; it does not come back."""
        ...

    async def check_sampling(self, sampling: dict[str, Any]) -> None:
        """Raises ServeError for sampling that could not be done, whatever the prompt. Needs nothing of the prompt."""
        ...

    async def check_completion(self, sampling: dict[str, Any]) -> None:
        """The same for the sampling of a completion."""
        ...

    async def chat(
        self,
        token_ids: list[int],
        visuals: list[Visual],
        sampling: dict[str, Any],
        timing: RequestTiming,
        cache_salt: str = "",
    ) -> dict[str, Any] | AsyncGenerator[str, None]:
        """The whole answer as OpenAI's object or, with `stream` in sampling, its server-sent events.

        token_ids: the prompt, with one placeholder for each of the visuals. visuals: the engine empties the list, so
        that the pixels do not stay for as long as the answer. timing: gets the engine's phases, at the latest before
        the last event. cache_salt: requests of different ones share no cached prompts and visuals.
        Raises ServeError, in a stream also from its events.
        """
        ...

    async def complete(
        self, prompts: list[TextPrompt], sampling: dict[str, Any], timing: RequestTiming, cache_salt: str = ""
    ) -> dict[str, Any] | AsyncGenerator[str, None]:
        """What the model writes behind each of the prompts, as OpenAI's completion: whole or as events, like a chat."""
        ...

    async def load_adapters(self) -> None:
        """Loads the adapters that are not loaded yet. Raises ValueError, saying why one cannot be loaded."""
        ...

    async def warm_up(self) -> None:
        """Runs once what clients may ask for and what is slow the first time."""
        ...

    def close(self) -> None: ...
