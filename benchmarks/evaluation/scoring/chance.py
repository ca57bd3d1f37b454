"""The chance level of a dataset: the best score of a model that does not look at the question or its images."""

from collections.abc import Sequence
from statistics import fmean

from llava_interleave_serve.benchmarks.evaluation.scoring import metrics


def chance_level(question_type: str, right_answers: Sequence[str]) -> float:
    """Returns the highest score, 0 to 1, of one answer given to every question of a dataset.

    Each of the right answers is tried. A random choice among them scores less on average, since no mean is above its
    largest term.
    """
    metric = metrics.metric_for("", question_type)
    guesses = dict.fromkeys(right_answers)
    return max(fmean(_score(metric, guess, right) for right in right_answers) for guess in guesses)


def _score(metric: str, guess: str, right: str) -> float:
    return metrics.score(metric, guess, right, "reference") or 0.0
