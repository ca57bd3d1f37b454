"""Conversations as token rows, in the chat format that the server writes (`server/prompt/prompt_writer.py`)."""

import random
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.demo.architecture import PATCHES
from llava_interleave_serve.demo.scenes.questions import Conversation, Step, Turn
from llava_interleave_serve.demo.tokenizer import SYSTEM


@dataclass
class Row:
    """A conversation's tokens, and the parts of answers that they belong to; three lists of one length.

    tokens: token ids, with a placeholder for each patch of a visual, or each pooled one.
    turns: the index of the turn whose answer the token is part of, else -1.
    steps: the index of the answer's step that the token is part of, counted through all answers, else -1.
    """

    tokens: list[int]
    turns: list[int]
    steps: list[int]


class _Writer:
    """Appends pieces of a conversation to a row."""

    def __init__(self, tokeniser: PreTrainedTokenizerFast, patches: int) -> None:
        self.tokeniser, self.patches, self.row = tokeniser, patches, Row([], [], [])

    def text(self, text: str, turn: int = -1, step: int = -1) -> None:
        self._tokens(self.tokeniser.encode(text, add_special_tokens=False), turn, step)

    def visual(self) -> None:
        self._tokens([self.tokeniser.convert_tokens_to_ids("<image>")] * self.patches, -1, -1)
        self.text("\n")

    def answer(self, turn: Turn, index: int) -> None:
        first = 1 + max(self.row.steps)
        for step, piece in enumerate(turn.steps or [Step(turn.answer, 0)], first):
            self.text(piece.text, index, step)
        self.text("<|im_end|>", index, step)

    def _tokens(self, tokens: list[int], turn: int, step: int) -> None:
        self.row.tokens += tokens
        self.row.turns += [turn] * len(tokens)
        self.row.steps += [step] * len(tokens)


def training_row(
    conversation: Conversation, tokeniser: PreTrainedTokenizerFast, rng: random.Random, patches: int = PATCHES
) -> Row:
    """Writes the conversation as tokens, so many of them for each visual.

    As users do, a question comes after its visuals, and sometimes before them; some images are numbered in words, and
    some conversations have no system prompt.
    """
    write = _Writer(tokeniser, patches)
    numbered = (
        not conversation.names and not conversation.video and len(conversation.scenes) > 1 and rng.random() < 0.15
    )
    question_first = rng.random() < 0.12
    if rng.random() < 0.95:
        for piece in ("<|im_start|>", "system\n", SYSTEM, "<|im_end|>", "\n"):
            write.text(piece)
    for index, turn in enumerate(conversation.turns):
        write.text("<|im_start|>")
        write.text("user\n")
        visuals = conversation.visuals_of_turn(index)
        if question_first and visuals:
            write.text(turn.question)
        for visual in visuals:
            write.text(visual_label(conversation, visual, numbered))
            write.visual()
        if not (question_first and visuals):
            write.text(turn.question)
        for piece in ("<|im_end|>", "\n", "<|im_start|>", "assistant\n"):
            write.text(piece)
        write.answer(turn, index)
        write.text("\n")
    return write.row


def visual_label(conversation: Conversation, visual: int, numbered: bool) -> str:
    """The text before a visual: its camera's name, its number, or nothing."""
    if conversation.names:
        return f"{conversation.names[visual]}: "
    return f"Image {visual + 1}: " if numbered else ""
