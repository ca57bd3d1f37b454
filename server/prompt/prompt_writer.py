"""The prompt of a conversation: ChatML token ids as these checkpoints were trained, each visual where the user put it.

Each message is `<|im_start|>` role newline content `<|im_end|>` newline; the prompt ends in `<|im_start|>assistant`
newline. A visual is one placeholder token followed by the separator, unless white space follows anyway. Every text
between visuals is tokenised on its own, once, as the reference evaluation does (LLaVA-NeXT, llava/eval/model_vqa.py).
Tools, their calls and results are text, in Hermes' format: definitions end the system message, and results that follow
each other are one turn of the user. Other styles, which differ in what follows a visual and in later turns, are
described in engine/base.py.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from llava_interleave_serve.server.engine.base import PromptStyle
from llava_interleave_serve.server.engine.tool_calls import hermes_format
from llava_interleave_serve.server.errors import ContextOverflow, RequestError
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.tokenizer import TextTokenizer

SYSTEM_PROMPT = "You are a helpful assistant."
START, END = "<|im_start|>", "<|im_end|>"
SYSTEM_ROLES = ("system", "developer")
WRITTEN_ROLES = {"developer": "system", "tool": "user"}  # by the roles of messages; others are written as they are


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
        self._newline = self._encode("\n")

    def _control_id(self, token: str) -> int:
        token_id = self.tokenizer.token_id(token)
        if token_id is None:
            raise ValueError(f"the tokeniser has no token {token!r}, so this is not a ChatML checkpoint")
        return token_id

    def write(
        self,
        messages: Sequence[chat_request.Message],
        visuals: Mapping[str, Sequence[int]],
        most_of_text: int | None = None,
        style: PromptStyle = "chat",
        definitions: str = "",
        beginning: str = "",
    ) -> list[int]:
        """The prompt's token ids, with one placeholder for each visual.

        definitions: text of the tools that the model may call, which ends the system message.
        beginning: of the answer.
        visuals: by the path of each media part (`chat_request.part_path`) the lengths of its runs of visuals between
            which nothing stands: 1 for each visual that is on its own.
        most_of_text: most token ids that the contents may have without the placeholders; only as much is tokenised as
            shows that there are more.

        Raises RequestError naming a text that would become a control token, and ContextOverflow if there are more.
        """
        text_ids = _Budget(most_of_text)
        (_, _, items), *turns = _turns(messages, visuals)
        system = self._message("system", [*items, definitions], style, 0, text_ids)
        repeated = self._message("system", items, style, 0, text_ids) if style == "bench" and definitions else system
        if turns and turns[0][1] == "assistant" and style != "chat":
            turns = turns[1:]  # the authors' programs drop an answer before the first question
        ids, is_answered = [*system], False
        for index, role, items in turns:
            if style == "bench" and is_answered and role == "user":
                ids += repeated
            block = self._message(role, items, style, index, text_ids)
            is_answered = role == "assistant"
            ids += block[: -len(self._newline)] if style == "bench" and is_answered else block
        return [*ids, self._start, *self._encode("assistant"), *self._newline, *self._encode(beginning)]

    def count(self, text: str, most: int) -> int:
        """The number of tokens of a text; some number larger than `most` for more."""
        return len(self._encode(text, most))

    def _message(
        self, role: str, items: Iterable[str | int], style: PromptStyle, index: int, text_ids: "_Budget"
    ) -> list[int]:
        """The ids of one message, which begin and end with its control tokens."""
        pieces = join_texts(items)
        ids = [self._start]
        if style == "demo":  # the role is tokenised together with the text behind it
            head = f"{role}\n"
            pieces = [head + pieces[0], *pieces[1:]] if pieces and isinstance(pieces[0], str) else [head, *pieces]
        else:
            ids += [*self._encode(role), *self._newline]
        if style == "chat":
            pieces = add_separators(pieces, self._separator)
        after_visual = self._newline if style in ("preprocess_qwen", "bench") else []
        for piece in pieces:
            if isinstance(piece, str):
                ids += self._text(piece, index, text_ids)
            else:
                ids += [self._image_token] * piece + after_visual
        return [*ids, self._end, *self._newline]

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
    messages: Sequence[chat_request.Message], visuals: Mapping[str, Sequence[int]]
) -> Iterator[tuple[int, str, list[str | int]]]:
    """Yields the index of each turn's first message, the turn's role, and its texts and visuals; the system's first."""
    if messages[0].role not in SYSTEM_ROLES:
        yield 0, "system", [SYSTEM_PROMPT]
    turns: list[tuple[int, str, list[str | int]]] = []
    for index, message in enumerate(messages):
        items = list(_items(index, message, visuals))
        if message.role == "tool" and index and messages[index - 1].role == "tool":
            turns[-1][2].extend(items)
        else:
            turns.append((index, WRITTEN_ROLES.get(message.role, message.role), items))
    yield from turns


def _items(index: int, message: chat_request.Message, visuals: Mapping[str, Sequence[int]]) -> Iterator[str | int]:
    """Yields the message's texts and runs of visuals in the user's order; the name of a view comes before the view."""
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
                    yield 1
            case _:
                yield from visuals[chat_request.part_path(index, number, part)]
    for call in message.tool_calls or ():
        yield hermes_format.call_text(call.function.name, call.function.arguments)
    if message.role == "tool":
        yield hermes_format.RESULT_END


def join_texts(items: Iterable[str | int]) -> list[str | int]:
    """The items without empty texts, adjacent texts joined by a newline, as the hub's chat template and vLLM do it."""
    pieces: list[str | int] = []
    for item in items:
        before = pieces[-1] if pieces else 0
        if item == "":
            continue
        if isinstance(item, str) and isinstance(before, str):
            glue = "" if before[-1].isspace() or item[0].isspace() else "\n"
            pieces[-1] = f"{before}{glue}{item}"
        else:
            pieces.append(item)
    return pieces


def add_separators(pieces: Iterable[str | int], separator: str) -> list[str | int]:
    """The pieces with a separator after each run of visuals that no white space follows.

    The separator is a piece of its own, so that it is tokenised alone.
    """
    separated: list[str | int] = []
    after_visual = False
    for piece in pieces:
        if after_visual and not (isinstance(piece, str) and piece[0].isspace()):
            separated.append(separator)
        separated.append(piece)
        after_visual = not isinstance(piece, str)
    return [*separated, separator] if after_visual else separated
