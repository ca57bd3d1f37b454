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
    """Returns ROUGE-L F of two texts, 0 to 1; 0 if either has no words (the package raises an error)."""
    predicted, right = _sentences(prediction), _sentences(truth)
    if not predicted or not right:
        return 0.0
    common = {
        word
        for right_sentence in right
        for predicted_sentence in predicted
        for word in _longest_common_subsequence(right_sentence, predicted_sentence)
    }
    precision = len(common) / len({word for sentence in predicted for word in sentence})
    recall = len(common) / len({word for sentence in right for word in sentence})
    return 2.0 * (precision * recall) / (precision + recall + EPSILON)


def _sentences(text: str) -> list[list[str]]:
    """Splits a text into sentences of words; a blank sentence has one empty word, as in the package."""
    return [" ".join(sentence.split()).split(" ") for sentence in text.split(".") if sentence]


def _longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Returns the longest common subsequence, of several the one that the package takes; the last word comes first.

    `lengths[i][j]` is the length of that of the first i words of `first` and the first j words of `second`.
    """
    lengths = [[0] * (len(second) + 1)]
    for word in first:
        above, row = lengths[-1], [0]
        for j, candidate in enumerate(second):
            row.append(above[j] + 1 if word == candidate else max(above[j + 1], row[j]))
        lengths.append(row)
    common, i, j = [], len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            common.append(first[i - 1])
            i, j = i - 1, j - 1
        elif lengths[i - 1][j] > lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return common
