"""Functions of the lmms-eval task for a local file: pictures at their marks, and one score over all datasets.

lmms-eval's own task for LLaVA-Interleave Bench sends all pictures before the question, and scores only the datasets
that the paper names. lmms-eval loads this module in its own environment, where the project is not installed.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

MARK = "<image>"
MAX_IMAGES = 16


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    """Returns the record's pictures, in order, as RGB Pillow images."""
    pictures = [doc.get(f"image_{index}") for index in range(MAX_IMAGES)]
    return [picture.convert("RGB") for picture in pictures if picture is not None]


def doc_to_messages(doc: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the question as one user message with each picture at its mark.

    All pictures stand before a question without marks. Raises ValueError if there are marks, but not as many as
    pictures. If a task has no such function, lmms-eval sends the marks as text, after the pictures.
    """
    pictures, question = doc_to_visual(doc), doc["question"]
    if MARK not in question and pictures:
        question = " ".join([MARK] * len(pictures)) + "\n" + question
    first, *rest = question.split(MARK)
    content = [_text_part(first)]
    for picture, text in zip(pictures, rest, strict=True):
        content += [{"type": "image", "url": picture}, _text_part(text)]
    return [{"role": "user", "content": [part for part in content if part.get("text") != ""]}]


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def overall_score(results: Sequence[dict[str, Any]]) -> float:
    """Returns the mean over datasets of the mean over each dataset's answers."""
    scores: dict[str, list[float]] = {}
    for result in results:
        scores.setdefault(result["sub_task"], []).append(result["score"])
    return fmean(fmean(dataset_scores) for dataset_scores in scores.values())
