"""ROUGE-L's F as the reference computes it: the `rouge` package's, 1.0.1 of 2021.

    F = 2 P R / (P + R + 1e-8),  P = |U| / |words of the prediction|,  R = |U| / |words of the truth|

with *sets* of words, sentences split at every period, and U the words of the longest common subsequences of every pair
of sentences. Nothing that is maintained computes the same. rouge-score and its successors (rapidrouge, rouge-score-rs,
rouge-rust) count repeated words and have a tokeniser of their own: 0.60 for "a red circle" and "a red circle and a blue
square", here 0.67. The one kept fork of `rouge` drops blank sentences: 0.50 for "A cat. " and "A dog. ", here 0.67. And
U depends on which of several longest common subsequences is taken, so that a library's LCS is not enough: rapidfuzz
takes another for 2 % of random word lists. So the walk through the table is here. Tests hold it against the package,
which is not depended on: its last release is of 2021, and its recursion fails on long stories.
"""

from collections.abc import Sequence

EPSILON = 1e-8


def rouge_l(prediction: str, truth: str) -> float:
    """ROUGE-L F of two texts, 0 to 1; 0 where either has no words (the package raises an error)."""
    said, right = _sentences(prediction), _sentences(truth)
    if not said or not right:
        return 0.0
    common = {word for one in right for other in said for word in _common(one, other)}
    precision = len(common) / len({word for sentence in said for word in sentence})
    recall = len(common) / len({word for sentence in right for word in sentence})
    return 2.0 * (precision * recall) / (precision + recall + EPSILON)


def _sentences(text: str) -> list[list[str]]:
    """The words of each sentence; those of a blank one are one empty word, as in the package."""
    return [" ".join(sentence.split()).split(" ") for sentence in text.split(".") if sentence]


def _common(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """The longest common subsequence, of several the one that the package takes; last word first."""
    table = [[0] * (len(other) + 1)]
    for word in one:
        above, row = table[-1], [0]
        for at, candidate in enumerate(other):
            row.append(above[at] + 1 if word == candidate else max(above[at + 1], row[at]))
        table.append(row)
    found, row_at, at = [], len(one), len(other)
    while row_at and at:
        if one[row_at - 1] == other[at - 1]:
            found.append(one[row_at - 1])
            row_at, at = row_at - 1, at - 1
        elif table[row_at - 1][at] > table[row_at][at - 1]:
            row_at -= 1
        else:
            at -= 1
    return found
