"""Whether the client kept up: if it did not, its figures are its own and not the server's."""

from collections.abc import Sequence
from typing import Any

from llava_interleave_serve.benchmarks.load.results import aggregate
from llava_interleave_serve.benchmarks.load.results.request_metrics import Record

LAG_SECONDS = 0.005  # p99 of what a client may be late in sending
LAG_SHARE = 0.05  # or, of the median time to first token, if that is more


def of(records: Sequence[Record], late: Sequence[float]) -> dict[str, Any]:
    """`lag`: how late requests were sent, `loop`: how late the event loop woke, both in seconds; and `warning`.

    A request that is sent late has its latency counted from when it was due all the same.
    """
    lag, loop = aggregate.spread(record.lag for record in records), aggregate.spread(late)
    return {"lag": lag, "loop": loop, "warning": _warning(records, lag)}


def _warning(records: Sequence[Record], lag: dict[str, float] | None) -> str:
    ttft = aggregate.spread(record.ttft for record in records if record.ttft is not None)
    allowed = max(LAG_SECONDS, LAG_SHARE * (ttft["p50"] if ttft else 0.0))
    if lag is None or lag["p99"] <= allowed:
        return ""
    return (
        f"the client fell behind: 1 % of the requests were sent {lag['p99'] * 1000:.1f} ms late or more "
        f"({allowed * 1000:.1f} ms would do), which their latencies include; give it a core of its own"
    )
