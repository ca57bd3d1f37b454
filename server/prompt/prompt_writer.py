"""From messages to token ids: ChatML as these checkpoints were trained, every visual where the user put it.

`<|im_start|>` role newline content `<|im_end|>` newline, for each message; then `<|im_start|>assistant` newline. A
visual is one placeholder token followed by the separator, unless white space follows anyway. As the reference
evaluation does (LLaVA-NeXT, llava/eval/model_vqa.py), every text between visuals is tokenised on its own, once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat

from tokenizers import Tokenizer

from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt import chat_request

SYSTEM_PROMPT = "You are a helpful assistant."
START, END = "<|im_start|>", "<|im_end|>"
VISUAL = None  # where a visual stands among texts


class PromptWriter:
    """Writes prompts for one checkpoint.

    tokenizer: as JSON text (`tokenizer.json`). image_token: the id of the placeholder. Raises ValueError if the
    tokeniser lacks ChatML's tokens.
    """

    def __init__(self, tokenizer: str, image_token: int, separator: str = "\n") -> None:
        # A copy, since the setting is the tokeniser's state: special tokens that a user types are split like text.
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._image_token = image_token
        self._start, self._end = (self._control(token) for token in (START, END))
        self._controls = frozenset((self._start, self._end, image_token))
        self.longest_token = max(map(len, self._tokenizer.get_vocab(with_added_tokens=False)))  # bytes
        self._separator = separator
        self._separator_ids = self._plain(separator)
        self._newline = self._plain("\n")

    def _control(self, token: str) -> int:
        number: int | None = self._tokenizer.token_to_id(token)
        if number is None:
            raise ValueError(f"the tokeniser has no token {token!r}, so this is not a ChatML checkpoint")
        return number

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def write(self, messages: Sequence[chat_request.Message], visuals: Mapping[str, int]) -> list[int]:
        """The prompt's token ids, with one placeholder a visual.

        visuals: how many visuals each media part has, by the part's place (`protocol.part_path`).
        Raises RequestError naming a text that would become a control token.
        """
        ids: list[int] = []
        if messages[0].role not in ("system", "developer"):
            ids += self._message("system", self._plain(SYSTEM_PROMPT))
        for at, message in enumerate(messages):
            role = "system" if message.role == "developer" else message.role
            ids += self._message(role, self._content(at, message, visuals))
        return [*ids, self._start, *self._plain("assistant"), *self._newline]

    def _message(self, role: str, content: list[int]) -> list[int]:
        return [self._start, *self._plain(role), *self._newline, *content, self._end, *self._newline]

    def _content(self, at: int, message: chat_request.Message, visuals: Mapping[str, int]) -> list[int]:
        ids: list[int] = []
        for piece in spaced(_items(at, message, visuals), self._separator):
            ids += [self._image_token] if piece is VISUAL else self._text(piece, f"messages[{at}].content")
        return ids

    def _text(self, text: str, param: str) -> list[int]:
        ids = self._plain(text)
        if not self._controls.isdisjoint(ids):
            raise RequestError("the text holds one of the model's control tokens", param=param)
        return ids


def _items(at: int, message: chat_request.Message, visuals: Mapping[str, int]) -> Iterator[str | None]:
    """The message's texts and visuals in the user's order, a view's name before it."""
    for number, part in enumerate(message.content):
        match part:
            case chat_request.TextPart():
                yield part.text
            case chat_request.ViewsPart():
                for view in part.multi_view.views:
                    if view.name:
                        yield f"{view.name}: "
                    yield VISUAL
            case _:
                yield from repeat(VISUAL, visuals[chat_request.part_path(at, number, part)])


def spaced(items: Iterable[str | None], separator: str) -> list[str | None]:
    """The items with a separator, as a piece of its own, after each visual that no white space follows.

    Adjacent texts become one piece, on lines of their own, as the hub's template and vLLM join them.
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
