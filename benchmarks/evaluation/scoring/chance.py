"""What an answer that does not look scores: the chance level of a data set, under the metric that scores it."""

from collections.abc import Sequence
from statistics import fmean

from llava_interleave_serve.benchmarks.evaluation.scoring import metrics


def level(question_type: str, answers: Sequence[str]) -> float:
    """The score, 0 to 1, of the best answer that is always the same, over all the right answers of a data set.

    The candidates are the right answers themselves. One drawn among them at random scores less on average, since no
    mean is above its largest part.
    """
    metric = metrics.metric_of("", question_type)
    scores = (fmean(_score(metric, said, right) for right in answers) for said in dict.fromkeys(answers))
    return max(scores)


def _score(metric: str, said: str, right: str) -> float:
    return metrics.score(metric, said, right, "reference") or 0.0
