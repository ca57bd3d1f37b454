"""Metrics of the encoder cache, read from the counters of the engine's processes when they are asked for."""

from collections.abc import Iterator

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from llava_interleave_serve.model_executor import visual_counters

HELP = {
    "hits": "Visuals of requests whose encoder output was kept.",
    "misses": "Visuals of requests that were encoded.",
    "evictions": "Encoder outputs that made room for others.",
    "bytes": "Bytes of encoder outputs that are kept or promised to visuals of this step.",
}


class VisualCacheMetrics(Collector):
    """Collects the counters of all ranks; zeros before there are some."""

    def __init__(self) -> None:
        self._lines: np.ndarray | None = None

    def read_from(self, lines: np.ndarray | None) -> None:
        """lines: of `visual_counters.open_lines`."""
        self._lines = lines

    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for name, text in HELP.items():
            yield (GaugeMetricFamily if name == "bytes" else CounterMetricFamily)(f"lis_visual_cache_{name}", text)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        totals = dict.fromkeys(HELP, 0) if self._lines is None else visual_counters.totals(self._lines)
        for family in self.describe():
            family.add_metric([], totals[family.name.removeprefix("lis_visual_cache_")])
            yield family
