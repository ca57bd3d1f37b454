"""Scores one answer with the reference's metrics (LLaVA-NeXT, llava/eval/evaluate_interleave.py) or lmms-eval's.

Every quirk of the originals is kept, since scores are compared with published ones; each quirk has its test.
"""

import re
from typing import Literal

from llava_interleave_serve.benchmarks.evaluation.scoring.rouge import rouge_l

Style = Literal["reference", "lmms-eval"]
STYLES: tuple[Style, ...] = ("reference", "lmms-eval")
MAX_TOKENS: dict[Style, int] = {"reference": 1024, "lmms-eval": 16}
OPEN_ENDED, MULTI_CHOICE = "open-ended", "multi-choice"
ALWAYS_MULTI_CHOICE = "nlrv2"  # a dataset's name, spelt as the reference spells it
MAX_PREDICTION = 512  # characters of a prediction that ROUGE reads

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# Written with `(?!<=\d)` for "not after a digit", which is always true: every period goes that no digit follows.
PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
COMMA_IN_NUMBER = re.compile(r"(\d)(\,)(\d)")
MAX_PERIODS = int(re.UNICODE)  # the reference passes re.UNICODE, 32, where `sub` takes its count
STRIPPED = "'\")("  # one after the other, each once
LETTERS = frozenset("abcdefgh")

OPTION = re.compile(r"^([A-E])\.\s*(.+)$", re.IGNORECASE)
LONE_LETTER = re.compile(r"\b([A-E])\b", re.IGNORECASE)


class UnsupportedQuestionType(ValueError):
    """A dataset whose question_type has no metric ("Dataset not supported")."""


def metric_for(dataset: str, question_type: str) -> str:
    """Returns the metric of a dataset by its first record's question_type. Raises UnsupportedQuestionType."""
    if question_type == OPEN_ENDED:
        return OPEN_ENDED
    if question_type == MULTI_CHOICE or dataset == ALWAYS_MULTI_CHOICE:
        return MULTI_CHOICE
    raise UnsupportedQuestionType(f"question_type is {question_type!r}: neither open-ended nor multi-choice")


def score(metric: str, prediction: str, truth: str, style: Style) -> float | None:
    """Returns the score of one answer, 0 to 1.

    Returns None for an open question whose right answer is empty: that answer does not count.
    """
    if style == "lmms-eval":
        if metric == OPEN_ENDED:
            return _lmms_rouge(prediction, truth)
        return float(lmms_choice(prediction) == lmms_choice(truth))
    if metric == OPEN_ENDED:
        right = normalised(truth)
        return rouge_l(normalised(prediction)[:MAX_PREDICTION], right) if right else None
    return float(reference_choice(prediction) == normalised(truth))


def normalised(text: str) -> str:
    """The reference's `process`: one line, without punctuation and enclosing quotes and brackets, in lower case."""
    text = without_punctuation(text.replace("\n", " ").replace("\t", " ").strip())
    for character in STRIPPED:
        text = text.strip(character)
    return text.strip().lower()


def without_punctuation(text: str) -> str:
    """The reference's `processPunctuation`: replaces each mark by a space or by nothing.

    A mark is replaced by nothing, everywhere in the text, if a space stands beside it anywhere, or if the text has a
    comma between digits.
    """
    has_comma = COMMA_IN_NUMBER.search(text) is not None
    result = text
    for mark in PUNCTUATION:
        removed = has_comma or f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if removed else " ")
    return PERIOD.sub("", result, count=MAX_PERIODS)


def reference_choice(prediction: str) -> str:
    """Returns a prediction as the reference compares it with the right choice.

    That is the normalised text, or, if it has a colon, the last part between colons that is a single letter a-h.
    """
    text = normalised(prediction)
    if ":" in text:
        letters = [part.strip() for part in text.split(":") if part.strip() in LETTERS]
        text = letters[-1] if letters else text
    return text


def lmms_choice(text: str) -> str:
    """Returns a choice as lmms-eval reads it: the letter of "B. cat", else any lone letter a-e, else the whole text."""
    if named_option := OPTION.match(text.strip()):
        return named_option[1].upper()
    text = normalised(text)
    lone_letter = LONE_LETTER.search(text)
    return lone_letter[1].upper() if lone_letter else text


def _lmms_rouge(prediction: str, truth: str) -> float | None:
    """ROUGE-L F of the texts as they are, of the prediction the first 512 characters; None without a right answer."""
    return rouge_l(prediction[:MAX_PREDICTION], truth) if truth else None
