"""The number of Ray's replicas follows what they have in flight and refuse."""

from types import SimpleNamespace
from typing import Any

from llava_interleave_serve.server.ray_serve.autoscaling import REFUSALS, VISUAL_TOKENS, ByVisualTokens


class Cluster:
    """What Ray tells the policy, and the number of replicas that came of it."""

    def __init__(self, policy: ByVisualTokens, replicas: int = 2) -> None:
        self.policy, self.replicas, self.now = policy, replicas, 0.0
        self.state: dict[str, Any] = {}

    def after(self, seconds: float, tokens: float, refusals: float = 0) -> int:
        """The number of replicas when so many tokens are in flight at each, and each has refused so many."""
        self.now += seconds
        each = range(self.replicas)
        context = SimpleNamespace(
            policy_state=self.state,
            aggregated_metrics={VISUAL_TOKENS: dict.fromkeys(each, tokens)},
            raw_metrics={REFUSALS: {replica: [SimpleNamespace(value=refusals)] for replica in each}},
            current_time=self.now,
            current_num_replicas=self.replicas,
            target_num_replicas=self.replicas,
            capacity_adjusted_min_replicas=1,
            capacity_adjusted_max_replicas=8,
        )
        self.replicas, self.state = self.policy(context)
        return self.replicas


def test_there_are_as_many_replicas_as_have_the_load_for_them() -> None:
    cluster = Cluster(ByVisualTokens(1000))
    assert cluster.after(10, 1000) == 2
    assert cluster.after(10, 1001) == 3
    assert cluster.after(10, 2000) == 6
    assert cluster.after(10, 9000) == 8  # the most that there may be


def test_replicas_go_one_by_one_and_late() -> None:
    cluster = Cluster(ByVisualTokens(1000, patience=600), replicas=4)
    assert [cluster.after(299, 10) for _ in range(3)] == [4, 4, 4]
    assert cluster.after(10, 10) == 3
    assert cluster.after(599, 10) == 3
    assert cluster.after(1, 10) == 2
    assert cluster.after(599, 1000) == 2  # as much as they bear: the wait begins anew
    assert cluster.after(599, 10) == 2
    assert cluster.after(599, 10) == 2
    assert cluster.after(600, 10) == 1
    assert cluster.after(10_000, 0) == 1  # the fewest that there may be


def test_a_refusal_brings_one_more_replica() -> None:
    cluster = Cluster(ByVisualTokens(1000))
    assert cluster.after(10, 100, refusals=5) == 2  # counted before the policy was first asked
    assert cluster.after(10, 100, refusals=6) == 3
    assert cluster.after(10, 100, refusals=6) == 3
    assert cluster.after(10, 100, refusals=6) == 3


def test_the_mean_of_refusals_which_grows_on_after_the_last_one_brings_no_replica() -> None:
    policy = ByVisualTokens(1000)
    state: dict[str, Any] = {}
    for mean in (0.0, 2.0, 4.0, 5.0):
        context = SimpleNamespace(
            policy_state=state, aggregated_metrics={REFUSALS: {"a": mean}},
            raw_metrics={REFUSALS: {"a": [SimpleNamespace(value=1.0), SimpleNamespace(value=5.0)], "b": []}},
            current_time=mean, current_num_replicas=1, target_num_replicas=1,
            capacity_adjusted_min_replicas=1, capacity_adjusted_max_replicas=8,
        )  # fmt: skip
        replicas, state = policy(context)
        assert replicas == 1


def test_without_metrics_there_are_the_fewest() -> None:
    context = SimpleNamespace(
        policy_state=None, aggregated_metrics=None, raw_metrics=None, current_time=None, current_num_replicas=0,
        target_num_replicas=0, capacity_adjusted_min_replicas=2, capacity_adjusted_max_replicas=8,
    )  # fmt: skip
    assert ByVisualTokens()(context)[0] == 2
