"""Metrics have every quirk of the reference's evaluate_interleave.py and of lmms-eval; values are computed by hand."""

import pytest

from llava_interleave_serve.benchmarks.evaluation.scoring import metrics
from llava_interleave_serve.benchmarks.evaluation.scoring.metrics import (
    MULTI_CHOICE,
    OPEN_ENDED,
    UnsupportedQuestionType,
)


def reference(metric: str, prediction: str, truth: str) -> float | None:
    return metrics.score(metric, prediction, truth, "reference")


def lmms(metric: str, prediction: str, truth: str) -> float | None:
    return metrics.score(metric, prediction, truth, "lmms-eval")


class TestProcessing:
    @pytest.mark.parametrize(
        ("text", "processed"),
        [
            ("  A Cat\n", "a cat"),
            ("one\ntwo\tthree", "one two three"),
            ("(B)", "b"),
            ("B.", "b"),
            ("A cat.", "a cat"),
            ("3.5 m", "3.5 m"),  # a digit follows the period
            ("no.5", "no.5"),
            ("5.", "5"),
            ("3. 5", "3 5"),  # "not after a digit" is written so that it is always true
            ("red-blue", "red blue"),  # no space beside the mark: it becomes one
            ("red - blue", "red  blue"),  # a space beside it: it goes
            ("red-blue - green", "redblue  green"),  # once is enough for all of them
            ("1,000 red-blue", "1000 redblue"),  # a comma in a number: every mark goes
            ("it's", "it's"),
            ("'quoted'", "quoted"),
            ("\"'both'\"", "'both'"),  # double quotes became spaces, and the spaces go last
            ("Answer: B", "answer: b"),  # a colon is no punctuation here
            ("", ""),
            ("...", ""),
        ],
    )
    def test_text_is_normalised_as_the_reference_does(self, text: str, processed: str) -> None:
        assert metrics.normalised(text) == processed

    def test_normalising_strips_quotes_before_the_last_spaces(self) -> None:
        assert metrics.normalised("'a' '") == "a'"
        assert metrics.normalised("' 'a") == "'a"

    def test_normalising_removes_at_most_32_periods(self) -> None:
        assert metrics.normalised("x" + "." * 40) == "x" + "." * 8


class TestOpenEnded:
    def test_prediction_and_truth_of_an_open_question_are_normalised(self) -> None:
        assert reference(OPEN_ENDED, "A RED Circle.", "a (red) circle") == pytest.approx(1)

    def test_an_open_answer_with_half_of_its_words_right_scores_two_thirds(self) -> None:
        # 2 of 4 words said, 2 of 2 right ones: F = 2 * 0.5 * 1 / 1.5
        assert reference(OPEN_ENDED, "a cat sleeps here", "A cat.") == pytest.approx(2 / 3)

    def test_only_512_characters_of_an_open_prediction_count(self) -> None:
        # The first 512 characters are 255 times "x " and "ri", of the right word's four letters.
        prediction = "x " * 255 + "right"
        assert reference(OPEN_ENDED, prediction, "right") == 0
        assert reference(OPEN_ENDED, "x " * 200 + "right", "right") == pytest.approx(2 * 0.5 / 1.5)

    def test_the_truth_of_an_open_question_is_not_cut(self) -> None:
        truth = "x " * 300 + "right"
        assert reference(OPEN_ENDED, "right", truth) == pytest.approx(2 * 0.5 / 1.5)

    @pytest.mark.parametrize("truth", ["", "  ", ".", "()"])
    def test_an_open_question_with_an_empty_truth_does_not_count(self, truth: str) -> None:
        assert reference(OPEN_ENDED, "a cat", truth) is None

    @pytest.mark.parametrize("prediction", ["", "\n", "..", '"'])
    def test_an_empty_open_prediction_scores_zero(self, prediction: str) -> None:
        assert reference(OPEN_ENDED, prediction, "a cat") == 0


class TestMultiChoice:
    @pytest.mark.parametrize(
        ("prediction", "truth", "right"),
        [
            ("B", "B", 1),
            ("b.", "(B)", 1),
            ("B) a cat", "B", 0),  # the whole answer is compared
            ("Yes", "yes.", 1),
            ("Answer: B", "B", 1),
            ("The answer is: B.", "B", 1),
            ("A: B", "B", 1),
            ("A: B", "A", 0),  # of several letters the last
            ("B: a cat", "B", 1),  # a letter before the colon counts as well
            ("c: x: h", "h", 1),
            ("Answer: i", "i", 0),  # letters end at h
            ("Answer: 3", "3", 0),
            ("Answer: two", "answer: two", 1),  # without a letter the whole is compared
            ("red:blue", "red:blue", 1),
            ("", "", 1),
            ("", "a", 0),
        ],
    )
    def test_a_choice_is_compared_with_the_truth_as_the_reference_does(
        self, prediction: str, truth: str, right: int
    ) -> None:
        assert reference(MULTI_CHOICE, prediction, truth) == right

    def test_the_truth_of_a_choice_is_not_split_at_a_colon(self) -> None:
        assert reference(MULTI_CHOICE, "B", "Answer: B") == 0


class TestMetricOfADataSet:
    def test_the_metric_of_a_dataset_follows_from_its_question_type(self) -> None:
        assert metrics.metric_for("VIST", "open-ended") == OPEN_ENDED
        assert metrics.metric_for("RAVEN", "multi-choice") == MULTI_CHOICE

    def test_the_metric_of_nlrv2_does_not_need_a_known_question_type(self) -> None:
        assert metrics.metric_for("nlrv2", "anything") == MULTI_CHOICE
        assert metrics.metric_for("nlrv2", "open-ended") == OPEN_ENDED  # looked at first

    def test_an_unknown_question_type_has_no_metric(self) -> None:
        with pytest.raises(UnsupportedQuestionType, match="'counting'"):
            metrics.metric_for("VIST", "counting")


class TestLmmsEval:
    @pytest.mark.parametrize(
        ("text", "option"),
        [
            ("B. a cat", "B"),
            ("b.cat", "B"),
            ("B.", "B"),
            ("(C)", "C"),
            ("The answer is D", "D"),
            ("a dog, not B", "A"),  # the first lone letter, an article too
            ("F. a cat", "A"),  # letters end at e: the article again
            ("F", "f"),
            ("F. cat\nB", "B"),
            ("B. cat\nC", "B"),
            ("Yes", "yes"),
        ],
    )
    def test_lmms_eval_reads_the_letter_of_a_choice(self, text: str, option: str) -> None:
        assert metrics.lmms_choice(text) == option

    def test_lmms_eval_compares_the_letters_that_it_reads(self) -> None:
        assert lmms(MULTI_CHOICE, "The answer is B", "B. a cat") == 1
        assert lmms(MULTI_CHOICE, "Answer: h", "h") == 0

    def test_lmms_eval_compares_open_answers_without_normalising(self) -> None:
        assert lmms(OPEN_ENDED, "A Cat", "a cat") == 0
        assert lmms(OPEN_ENDED, "A cat. ", "A dog. ") == pytest.approx(2 / 3)
        assert lmms(OPEN_ENDED, "", "a cat") == 0
        assert lmms(OPEN_ENDED, "a cat", "") is None

    def test_lmms_eval_allows_16_tokens_for_an_answer(self) -> None:
        assert metrics.MAX_TOKENS == {"reference": 1024, "lmms-eval": 16}
