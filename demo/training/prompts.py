"""Conversations as rows of tokens, in the chat format that the server writes (`server/prompt/prompt_writer.py`)."""

import random
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.demo import architecture
from llava_interleave_serve.demo.scenes.questions import Conversation, Turn
from llava_interleave_serve.demo.tokenizer import SYSTEM


@dataclass
class Row:
    """tokens, with architecture.PATCHES placeholders a visual.

    turns: in which turn a token is of the answer, else -1; steps: of which step of an answer it is, of all answers'.
    """

    tokens: list[int]
    turns: list[int]
    steps: list[int]


class _Writer:
    def __init__(self, tokeniser: PreTrainedTokenizerFast) -> None:
        self.tokeniser, self.row = tokeniser, Row([], [], [])

    def text(self, text: str, turn: int = -1, step: int = -1) -> None:
        self._tokens(self.tokeniser.encode(text, add_special_tokens=False), turn, step)

    def visual(self) -> None:
        self._tokens([self.tokeniser.convert_tokens_to_ids("<image>")] * architecture.PATCHES, -1, -1)
        self.text("\n")

    def answer(self, answer: Turn, turn: int) -> None:
        first = 1 + max(self.row.steps)
        for step, (text, _) in enumerate(answer.steps or [(answer.answer, 0)], first):
            self.text(text, turn, step)
        self.text("<|im_end|>", turn, step)

    def _tokens(self, tokens: list[int], turn: int, step: int) -> None:
        self.row.tokens += tokens
        self.row.turns += [turn] * len(tokens)
        self.row.steps += [step] * len(tokens)


def training_row(talk: Conversation, tokeniser: PreTrainedTokenizerFast, rng: random.Random) -> Row:
    """The conversation as tokens. A question stands after its visuals, seldom before them; images are numbered in words
    now and then, as users do.
    """
    write = _Writer(tokeniser)
    numbered = not talk.names and not talk.video and len(talk.scenes) > 1 and rng.random() < 0.15
    question_first = rng.random() < 0.12
    if rng.random() < 0.95:
        for piece in ("<|im_start|>", "system\n", SYSTEM, "<|im_end|>", "\n"):
            write.text(piece)
    for at, turn in enumerate(talk.turns):
        write.text("<|im_start|>")
        write.text("user\n")
        visuals = talk.shown_with(at)
        if question_first and visuals:
            write.text(turn.question)
        for number in visuals:
            write.text(label(talk, number, numbered))
            write.visual()
        if not (question_first and visuals):
            write.text(turn.question)
        for piece in ("<|im_end|>", "\n", "<|im_start|>", "assistant\n"):
            write.text(piece)
        write.answer(turn, at)
        write.text("\n")
    return write.row


def label(talk: Conversation, visual: int, numbered: bool) -> str:
    """What stands before a visual: its camera's name, its number, or nothing."""
    if talk.names:
        return f"{talk.names[visual]}: "
    return f"Image {visual + 1}: " if numbered else ""
