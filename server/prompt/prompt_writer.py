"""The prompt of a conversation: ChatML token ids as these checkpoints were trained, each visual where the user put it.

Each message is `<|im_start|>` role newline content `<|im_end|>` newline; the prompt ends in `<|im_start|>assistant`
newline. A visual is one placeholder token followed by the separator, unless white space follows anyway. Every text
between visuals is tokenised on its own, once, as the reference evaluation does (LLaVA-NeXT, llava/eval/model_vqa.py).
Tools, their calls and results are text, in Hermes' format: definitions end the system message, and results that follow
each other are one turn of the user.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat

from llava_interleave_serve.server.engine.tool_calls import hermes_format
from llava_interleave_serve.server.errors import ContextOverflow, RequestError
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.tokenizer import TextTokenizer

SYSTEM_PROMPT = "You are a helpful assistant."
START, END = "<|im_start|>", "<|im_end|>"
SYSTEM_ROLES = ("system", "developer")
WRITTEN_ROLES = {"developer": "system", "tool": "user"}  # by the roles of messages; others are written as they are
VISUAL = None  # stands for a visual in a list of texts


class PromptWriter:
    """Writes the prompts of one checkpoint.

    tokenizer: JSON text of `tokenizer.json`. image_token: token id of the placeholder. separator: text after a visual.
    Raises ValueError if the tokeniser lacks ChatML's tokens.
    """

    def __init__(self, tokenizer: str, image_token: int, separator: str = "\n") -> None:
        self.tokenizer = TextTokenizer(tokenizer)
        self._encode = self.tokenizer.encode
        self._image_token = image_token
        self._start, self._end = (self._control_id(token) for token in (START, END))
        self._controls = frozenset((self._start, self._end, image_token))
        self.longest_token = self.tokenizer.longest_token  # bytes
        self._separator = separator
        self._separator_ids = self._encode(separator)
        self._newline = self._encode("\n")

    def _control_id(self, token: str) -> int:
        token_id = self.tokenizer.token_id(token)
        if token_id is None:
            raise ValueError(f"the tokeniser has no token {token!r}, so this is not a ChatML checkpoint")
        return token_id

    def write(
        self,
        messages: Sequence[chat_request.Message],
        visuals: Mapping[str, int],
        most_of_text: int | None = None,
        definitions: str = "",
        beginning: str = "",
    ) -> list[int]:
        """The prompt's token ids, with one placeholder for each visual.

        visuals: the number of visuals of each media part, by the part's path (`chat_request.part_path`).
        definitions: text of the tools that the model may call, which ends the system message. beginning: of the answer.
        most_of_text: most token ids that the contents may have without the placeholders; only as much is tokenised as
            shows that there are more. Raises RequestError naming a text that would become a control token, and
            ContextOverflow if there are more.
        """
        ids: list[int] = []
        text_ids = _Budget(most_of_text)
        for index, role, items in _turns(messages, visuals, definitions):
            content: list[int] = []
            for piece in add_separators(items, self._separator):
                content += [self._image_token] if piece is VISUAL else self._text(piece, index, text_ids)
            ids += [self._start, *self._encode(role), *self._newline, *content, self._end, *self._newline]
        return [*ids, self._start, *self._encode("assistant"), *self._newline, *self._encode(beginning)]

    def count(self, text: str, most: int) -> int:
        """The number of tokens of a text; some number larger than `most` for more."""
        return len(self._encode(text, most))

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


def _turns(
    messages: Sequence[chat_request.Message], visuals: Mapping[str, int], definitions: str
) -> Iterator[tuple[int, str, list[str | None]]]:
    """Yields the index of each turn's first message, the turn's role, and its texts and visuals."""
    if messages[0].role not in SYSTEM_ROLES:
        yield 0, "system", [SYSTEM_PROMPT, definitions]
        definitions = ""
    turns: list[tuple[int, str, list[str | None]]] = []
    for index, message in enumerate(messages):
        items = [*_items(index, message, visuals), definitions]
        definitions = ""
        if message.role == "tool" and index and messages[index - 1].role == "tool":
            turns[-1][2].extend(items)
        else:
            turns.append((index, WRITTEN_ROLES.get(message.role, message.role), items))
    yield from turns


def _items(index: int, message: chat_request.Message, visuals: Mapping[str, int]) -> Iterator[str | None]:
    """Yields the message's texts and visuals in the user's order; the name of a view comes before the view."""
    if message.role == "tool":
        yield hermes_format.RESULT_START
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
    for call in message.tool_calls or ():
        yield hermes_format.call_text(call.function.name, call.function.arguments)
    if message.role == "tool":
        yield hermes_format.RESULT_END


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
