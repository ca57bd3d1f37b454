"""ROUGE-L equals that of the package that the reference uses."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rouge import Rouge

from llava_interleave_serve.benchmarks.evaluation.scoring.rouge import rouge_l

WORDS = st.sampled_from([*"abcdef", "red", "circle.", "3.5", ".", "a.", "\n", ""])
TEXTS = st.lists(WORDS, max_size=16).map(" ".join) | st.text(alphabet="ab .", max_size=30)


@pytest.mark.parametrize(
    ("prediction", "truth", "common", "predicted_words", "right_words"),
    [
        ("a red circle", "a red circle", 3, 3, 3),
        ("a red circle", "a red circle and a blue square", 3, 3, 6),  # words are a set: "a" counts once
        ("the cat sat on the mat", "the cat lay on the mat", 4, 5, 5),
        ("circle red a", "a red circle", 1, 3, 3),  # order counts
        ("a cat. a dog", "a dog. a cat", 3, 3, 3),  # sentences are compared each with each
        ("it is 3.5 m", "it is 3.5 m long", 5, 5, 6),  # the point of a number ends a sentence
        ("A cat. ", "A dog. ", 2, 3, 3),  # the blank after the last period is a word
        ("nothing", "in common", 0, 1, 2),
    ],
)  # fmt: skip
def test_rouge_scores_are_those_computed_by_hand(
    prediction: str, truth: str, common: int, predicted_words: int, right_words: int
) -> None:
    precision, recall = common / predicted_words, common / right_words
    assert rouge_l(prediction, truth) == pytest.approx(
        2 * precision * recall / (precision + recall + 1e-8), rel=1e-12, abs=0
    )


@pytest.mark.parametrize(("prediction", "truth", "common"), [("a b a", "a a b", 2), ("a a b", "a b a", 1)])
def test_rouge_takes_the_same_longest_common_subsequence_as_the_package(
    prediction: str, truth: str, common: int
) -> None:
    # "a b" and "a a" are both longest; they have two words, and one.
    score = rouge_l(prediction, truth)
    assert score == Rouge().get_scores(prediction, truth)[0]["rouge-l"]["f"]
    assert score == pytest.approx(common / 2, abs=1e-7)


@given(TEXTS, TEXTS)
@example("a cat ", " . a dog .")
def test_rouge_scores_equal_those_of_the_package_to_the_last_bit(prediction: str, truth: str) -> None:
    try:
        (scores,) = Rouge(metrics=["rouge-l"]).get_scores(prediction, truth)
    except ValueError:  # one of them is empty but for periods
        assert rouge_l(prediction, truth) == 0
    else:
        assert rouge_l(prediction, truth) == scores["rouge-l"]["f"]


def test_rouge_scores_a_long_story() -> None:
    assert rouge_l(" ".join(map(str, range(300))), " ".join(map(str, range(1500)))) == pytest.approx(1 / 3, abs=1e-6)
