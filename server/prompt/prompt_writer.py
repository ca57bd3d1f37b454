"""The prompt of a conversation: ChatML token ids as these checkpoints were trained, each visual where the user put it.

Each message is `<|im_start|>` role newline content `<|im_end|>` newline; the prompt ends in `<|im_start|>assistant`
newline. A visual is one placeholder token followed by the separator, unless white space follows anyway. Every text
between visuals is tokenised on its own, once, as the reference evaluation does (LLaVA-NeXT, llava/eval/model_vqa.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat

from llava_interleave_serve.server.errors import ContextOverflow, RequestError
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.tokenizer import TextTokenizer

SYSTEM_PROMPT = "You are a helpful assistant."
START, END = "<|im_start|>", "<|im_end|>"
VISUAL = None  # stands for a visual in a list of texts


class PromptWriter:
    """Writes the prompts of one checkpoint.

    tokenizer: JSON text of `tokenizer.json`. image_token: token id of the placeholder. separator: text after a visual.
    Raises ValueError if the tokeniser lacks ChatML's tokens.
    """

    def __init__(self, tokenizer: str, image_token: int, separator: str = "\n") -> None:
        self._tokenizer = TextTokenizer(tokenizer)
        self._encode = self._tokenizer.encode
        self._image_token = image_token
        self._start, self._end = (self._control_id(token) for token in (START, END))
        self._controls = frozenset((self._start, self._end, image_token))
        self.longest_token = self._tokenizer.longest_token  # bytes
        self._separator = separator
        self._separator_ids = self._encode(separator)
        self._newline = self._encode("\n")

    def _control_id(self, token: str) -> int:
        token_id = self._tokenizer.token_id(token)
        if token_id is None:
            raise ValueError(f"the tokeniser has no token {token!r}, so this is not a ChatML checkpoint")
        return token_id

    def write(
        self, messages: Sequence[chat_request.Message], visuals: Mapping[str, int], most_of_text: int | None = None
    ) -> list[int]:
        """The prompt's token ids, with one placeholder for each visual.

        visuals: the number of visuals of each media part, by the part's path (`chat_request.part_path`).
        most_of_text: most token ids that the contents may have without the placeholders; only as much is tokenised as
            shows that there are more. Raises RequestError naming a text that would become a control token, and
            ContextOverflow if there are more.
        """
        ids: list[int] = []
        if messages[0].role not in ("system", "developer"):
            ids += self._message("system", self._encode(SYSTEM_PROMPT))
        text_ids = _Budget(most_of_text)
        for index, message in enumerate(messages):
            role = "system" if message.role == "developer" else message.role
            ids += self._message(role, self._content(index, message, visuals, text_ids))
        return [*ids, self._start, *self._encode("assistant"), *self._newline]

    def _message(self, role: str, content: list[int]) -> list[int]:
        return [self._start, *self._encode(role), *self._newline, *content, self._end, *self._newline]

    def _content(
        self, index: int, message: chat_request.Message, visuals: Mapping[str, int], text_ids: "_Budget"
    ) -> list[int]:
        ids: list[int] = []
        for piece in add_separators(_items(index, message, visuals), self._separator):
            ids += [self._image_token] if piece is VISUAL else self._text(piece, index, text_ids)
        return ids

    def _text(self, text: str, index: int, text_ids: "_Budget") -> list[int]:
        ids = self._encode(text, text_ids.left)
        text_ids.spend(len(ids))
        if not self._controls.isdisjoint(ids):
            raise RequestError("the text holds one of the model's control tokens", param=f"messages[{index}].content")
        return ids


class _Budget:
    """Token ids that the contents of a prompt may have.

    Attributes:
        left: how many more; None for any number.

    """

    def __init__(self, most: int | None) -> None:
        self._most = self.left = most

    def spend(self, number: int) -> None:
        if self.left is not None:
            self.left -= number
            if self.left < 0:
                raise text_overflow(self._most)


def text_overflow(most: int | None) -> ContextOverflow:
    """The error of texts of more token ids than these."""
    return ContextOverflow(
        f"the text alone takes more than the {most} tokens of this model's context", param="messages"
    )


def _items(index: int, message: chat_request.Message, visuals: Mapping[str, int]) -> Iterator[str | None]:
    """Yields the message's texts and visuals in the user's order; the name of a view comes before the view."""
    for number, part in enumerate(message.content):
        match part:
            case chat_request.TextPart():
                yield part.text
            case chat_request.RefusalPart():
                pass
            case chat_request.ViewsPart():
                for view in part.multi_view.views:
                    if view.name:
                        yield f"{view.name}: "
                    yield VISUAL
            case _:
                yield from repeat(VISUAL, visuals[chat_request.part_path(index, number, part)])


def add_separators(items: Iterable[str | None], separator: str) -> list[str | None]:
    """The items with a separator after each visual that no white space follows.

    The separator is an item of its own, so that it is tokenised alone. Adjacent texts are joined by a newline, as the
    hub's chat template and vLLM join them.
    """
    pieces: list[str | None] = []
    after_visual = False
    for item in items:
        if item == "":
            continue
        before = pieces[-1] if pieces else VISUAL
        if after_visual and (item is VISUAL or not item[0].isspace()):
            pieces.append(separator)
        elif item is not VISUAL and before is not VISUAL:
            glue = "" if before[-1].isspace() or item[0].isspace() else "\n"
            pieces[-1] = f"{before}{glue}{item}"
            continue
        pieces.append(item)
        after_visual = item is VISUAL
    return [*pieces, separator] if after_visual else pieces
