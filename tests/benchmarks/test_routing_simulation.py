"""The simulation of routing behaves as its parts must."""

import math

from llava_interleave_serve.benchmarks.fleet.routing_simulation import Cache, Ring, hit_rates, hot_keys
from llava_interleave_serve.benchmarks.load.workload import schema

MULTI_TURN = schema.load("multi-turn")


def test_a_replica_that_goes_moves_its_own_keys_alone() -> None:
    keys = [f"{number}" for number in range(500)]
    large, small = Ring(8), Ring(7)
    moved = [key for key in keys if large.replica_of(key) != small.replica_of(key)]
    assert moved
    assert {large.replica_of(key) for key in moved} == {7}


def test_the_replicas_of_a_key_begin_with_its_own_and_are_all_there_are() -> None:
    ring = Ring(5)
    order = list(dict.fromkeys(ring.replicas_of("key")))
    assert order[0] == ring.replica_of("key")
    assert sorted(order) == list(range(5))


def test_a_cache_forgets_what_was_asked_for_longest_ago() -> None:
    cache = Cache(2)
    assert [cache.take(item) for item in "abacab"] == [False, False, True, False, True, False]


def test_by_session_the_caches_of_many_replicas_are_worth_those_of_one_and_at_random_less() -> None:
    rates = hit_rates(MULTI_TURN, 8, kept=1024, seed=1)
    assert rates["session"] == rates["seen"]
    assert rates["random"] < 0.5 * rates["session"]
    alone = hit_rates(MULTI_TURN, 1, kept=1024, seed=1)
    assert alone["random"] == alone["session"] == alone["medium"]


def test_a_bound_holds_the_fullest_replica_and_costs_hits() -> None:
    plain, bounded = hot_keys(16, math.inf, seed=1), hot_keys(16, 1.5, seed=1)
    assert bounded[0] <= 1.5 + 1 / 16 < plain[0]
    assert bounded[1] < plain[1]
