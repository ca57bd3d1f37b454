"""What lmms-eval's own task for the bench lacks: pictures at their places, and a score of data sets it does not know.

Read by lmms-eval, from its own environment: nothing of ours is there to import.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

MARK = "<image>"
MOST_IMAGES = 16


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    """The record's pictures, in order."""
    pictures = [doc.get(f"image_{number}") for number in range(MOST_IMAGES)]
    return [picture.convert("RGB") for picture in pictures if picture is not None]


def doc_to_messages(doc: dict[str, Any]) -> list[dict[str, Any]]:
    """The question split at its marks, a picture at each; before a question without marks, all pictures.

    Without it lmms-eval sends the marks as text, after the pictures. Raises ValueError if marks and pictures are not
    equally many.
    """
    pictures, question = doc_to_visual(doc), doc["question"]
    if MARK not in question and pictures:
        question = " ".join([MARK] * len(pictures)) + "\n" + question
    first, *rest = question.split(MARK)
    content = [_text(first)]
    for picture, text in zip(pictures, rest, strict=True):
        content += [{"type": "image", "url": picture}, _text(text)]
    return [{"role": "user", "content": [part for part in content if part.get("text") != ""]}]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def overall_score(results: Sequence[dict[str, Any]]) -> float:
    """The mean over data sets of the mean over their answers."""
    scores: dict[str, list[float]] = {}
    for result in results:
        scores.setdefault(result["sub_task"], []).append(result["score"])
    return fmean(fmean(of_one) for of_one in scores.values())
