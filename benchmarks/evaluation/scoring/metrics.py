"""What an answer is worth: the reference's metrics (LLaVA-NeXT, llava/eval/evaluate_interleave.py) and lmms-eval's.

Every quirk is the original's and is kept, since scores are compared with published ones; each has its test.
"""

import re
from typing import Literal

from llava_interleave_serve.benchmarks.evaluation.scoring.rouge import rouge_l

Style = Literal["reference", "lmms-eval"]
STYLES: tuple[Style, ...] = ("reference", "lmms-eval")
MAX_TOKENS: dict[Style, int] = {"reference": 1024, "lmms-eval": 16}
OPEN_ENDED, MULTI_CHOICE = "open-ended", "multi-choice"
ALWAYS_MULTI_CHOICE = "nlrv2"  # a data set's name, spelt as the reference spells it
LONGEST = 512  # characters of a prediction that ROUGE reads

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# Written with `(?!<=\d)` for "not after a digit", which is always true: every period goes that no digit follows.
PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
COMMA_IN_NUMBER = re.compile(r"(\d)(\,)(\d)")
MOST_PERIODS = int(re.UNICODE)  # the reference passes re.UNICODE, 32, where `sub` takes its count
STRIPPED = "'\")("  # one after the other, each once
LETTERS = frozenset("abcdefgh")

OPTION = re.compile(r"^([A-E])\.\s*(.+)$", re.IGNORECASE)
LONE_LETTER = re.compile(r"\b([A-E])\b", re.IGNORECASE)


class UnsupportedType(ValueError):
    """A data set whose question_type has no metric ("Dataset not supported")."""


def metric_of(data_set: str, question_type: str) -> str:
    """The metric of a data set by the question_type of its first record. Raises UnsupportedType."""
    if question_type == OPEN_ENDED:
        return OPEN_ENDED
    if question_type == MULTI_CHOICE or data_set == ALWAYS_MULTI_CHOICE:
        return MULTI_CHOICE
    raise UnsupportedType(f"question_type is {question_type!r}: neither open-ended nor multi-choice")


def score(metric: str, prediction: str, truth: str, style: Style) -> float | None:
    """What one answer scores, 0 to 1; None where there is no truth to compare it with, and it does not count."""
    if style == "lmms-eval":
        return _lmms_rouge(prediction, truth) if metric == OPEN_ENDED else float(option(prediction) == option(truth))
    if metric == OPEN_ENDED:
        right = processed(truth)
        return rouge_l(processed(prediction)[:LONGEST], right) if right else None
    return float(choice(prediction) == processed(truth))


def processed(text: str) -> str:
    """The reference's `process`: one line, punctuation and enclosing quotes and brackets off, lower case."""
    text = without_punctuation(text.replace("\n", " ").replace("\t", " ").strip())
    for character in STRIPPED:
        text = text.strip(character)
    return text.strip().lower()


def without_punctuation(text: str) -> str:
    """The reference's `processPunctuation`: a mark becomes a space, but goes for good if anywhere in the text a space
    stands beside it, or a comma between digits.
    """
    has_comma = COMMA_IN_NUMBER.search(text) is not None
    out = text
    for mark in PUNCTUATION:
        goes = has_comma or f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if goes else " ")
    return PERIOD.sub("", out, count=MOST_PERIODS)


def choice(prediction: str) -> str:
    """A prediction as it is compared: processed, or, if it has a colon, the last part that is a single letter a-h."""
    said = processed(prediction)
    if ":" in said:
        letters = [part.strip() for part in said.split(":") if part.strip() in LETTERS]
        said = letters[-1] if letters else said
    return said


def option(text: str) -> str:
    """lmms-eval's reading of a choice: the letter of "B. cat", else any lone letter a-e, else the processed text."""
    if named := OPTION.match(text.strip()):
        return named[1].upper()
    said = processed(text)
    lone = LONE_LETTER.search(said)
    return lone[1].upper() if lone else said


def _lmms_rouge(prediction: str, truth: str) -> float | None:
    """ROUGE-L F of the raw texts, the prediction's first 512 characters."""
    return rouge_l(prediction[:LONGEST], truth) if truth else None
