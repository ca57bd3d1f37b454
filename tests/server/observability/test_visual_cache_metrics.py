"""The encoder cache's metrics are what the engine's processes have counted."""

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from llava_interleave_serve.model_executor import visual_counters
from llava_interleave_serve.server.observability.visual_cache_metrics import VisualCacheMetrics


def served(metrics: VisualCacheMetrics) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(metrics)
    lines = [line.split() for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name.removeprefix("lis_visual_cache_"): float(value) for name, value in lines}


def test_the_counters_of_all_ranks_are_served() -> None:
    metrics, path = VisualCacheMetrics(), visual_counters.create()
    try:
        metrics.read_from(visual_counters.open_lines(path))
        visual_counters.open_line(str(path), 0)[:] = [1, 2, 3, 4]
        visual_counters.open_line(str(path), 5)[:] = [10, 20, 30, 2**40]
        expected = {"hits_total": 11, "misses_total": 22, "evictions_total": 33, "bytes": 2**40 + 4}
        assert served(metrics) == expected
    finally:
        path.unlink()


def test_without_an_engine_they_are_zero() -> None:
    assert set(served(VisualCacheMetrics()).values()) == {0.0}


def test_counters_are_seen_at_once_though_the_file_is_deleted() -> None:
    path = visual_counters.create()
    written, read = visual_counters.open_line(str(path), 1), visual_counters.open_lines(path)
    path.unlink()
    written[0] += np.True_
    assert visual_counters.totals(read)["hits"] == 1
