"""Many requests' measures in few numbers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from llava_interleave_serve.benchmarks.load.results.request_metrics import Record
from llava_interleave_serve.benchmarks.load.workload.schema import Target, Workload

QUANTILES = (50, 90, 99)


def spread(values: Iterable[float]) -> dict[str, float] | None:
    """p50, p90, p99, mean, max and number of the values, to the microsecond; None if there are none."""
    array = np.fromiter(values, np.float64)
    if not len(array):
        return None
    quantiles = np.percentile(array, QUANTILES)
    found = {f"p{at}": round(float(value), 6) for at, value in zip(QUANTILES, quantiles, strict=True)}
    return found | {"mean": round(float(array.mean()), 6), "max": round(float(array.max()), 6), "n": len(array)}


def is_good(record: Record, target: Target) -> bool:
    """Whether the request was answered within its class's target."""
    measured = {
        "ttft": record.ttft,
        "itl": max(record.gaps, default=0.0),
        "tpot": record.tpot or 0.0,
        "e2e": record.e2e,
    }
    values = {name: measured[name] for name in target.limits}
    return record.ok and all(value is not None and value <= target.limits[name] for name, value in values.items())


def of(records: Sequence[Record], workload: Workload) -> dict[str, Any]:
    """`all` and `classes`: what counts of the records, together and by class; and `window`, the seconds they took.

    The window is from when the first of them was due to when the last answer had ended.
    """
    counted = [record for record in records if not record.left_out]
    start = min((record.due for record in counted), default=0.0)
    window = max((record.end for record in counted), default=0.0) - start
    classes = {
        kind.name: _class([record for record in counted if record.name == kind.name], window, kind.target)
        for kind in workload.classes
    }
    classes = {name: numbers for name, numbers in classes.items() if numbers["requests"]}
    good = sum(numbers["good"] for numbers in classes.values())
    together = _numbers(counted, window) | _goodput(good, len(counted), window)
    left_out = Counter(record.left_out for record in records if record.left_out)
    return {"window": round(window, 3), "left_out": dict(left_out), "all": together, "classes": classes}


def _class(records: Sequence[Record], window: float, target: Target) -> dict[str, Any]:
    good = sum(is_good(record, target) for record in records)
    numbers = _numbers(records, window) | _goodput(good, len(records), window)
    met = good >= target.share * len(records)
    return numbers | {"target": target.limits | {"share": target.share} if target.limits else None, "met": met}


def _goodput(good: int, number: int, window: float) -> dict[str, Any]:
    return {"good": good, "good_share": round(good / number, 4) if number else None, "good_rate": _rate(good, window)}


def _numbers(records: Sequence[Record], window: float) -> dict[str, Any]:
    """Latencies are of the requests that were answered; what was not is in `errors`."""
    answered = [record for record in records if record.ok]
    tokens = [record.visual_tokens for record in answered if record.visual_tokens is not None]
    return {
        "requests": len(records),
        "answered": len(answered),
        "errors": dict(Counter(record.error for record in records if record.error).most_common()),
        "retry_after": sorted({record.retry_after for record in records if record.retry_after is not None}),
        "ttft": spread(record.ttft for record in answered if record.ttft is not None),
        "itl": spread(gap for record in answered for gap in record.gaps),
        "tpot": spread(record.tpot for record in answered if record.tpot is not None),
        "e2e": spread(record.e2e for record in answered if record.e2e is not None),
        "rates": {
            "requests": _rate(len(answered), window),
            "offered": _rate(len(records), _span(records)),
            "tokens": _rate(sum(record.tokens for record in answered), window),
            "prompt_tokens": _rate(sum(record.prompt_tokens or 0 for record in answered), window),
            "images": _rate(sum(record.images for record in answered), window),
            "frames": _rate(sum(record.frames for record in answered), window),
            "visual_tokens": _rate(sum(tokens), window) if tokens else None,
        },
        "phases": _phases(answered),
        "repeats": _repeats(answered),
        "right": _share(record.right for record in records),
        "same": _share(record.same for record in records),
    }


def _span(records: Sequence[Record]) -> float:
    dues = [record.due for record in records]
    return max(dues) - min(dues) if dues else 0.0


def _rate(number: float, window: float) -> float | None:
    return round(number / window, 4) if window > 0 else None


def _phases(records: Sequence[Record]) -> dict[str, dict[str, float] | None]:
    names = dict.fromkeys(name for record in records for name in record.phases)
    return {name: spread(record.phases[name] for record in records if name in record.phases) for name in names}


def _repeats(records: Sequence[Record]) -> dict[str, dict[str, float] | None]:
    """Time to first token by how the media had been shown before: `new`, `exact`, `question`, `order`, `sliding`.

    Further turns of a conversation are `turn`.
    """
    groups: dict[str, list[float]] = {}
    for record in records:
        if record.ttft is not None:
            groups.setdefault("turn" if record.turn else record.repeat or "new", []).append(record.ttft)
    return {name: spread(values) for name, values in groups.items()}


def _share(values: Iterable[bool | None]) -> dict[str, int] | None:
    known = [value for value in values if value is not None]
    return {"of": len(known), "yes": sum(known)} if known else None
