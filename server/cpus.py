"""The number of processors that this process may use."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """Counts the processors: those that the process may run on, or its container's quota of time if that is less.

    `docker run --cpus=2` and Kubernetes' limits are quotas, which the processor affinity does not show. Of control
    groups in a hierarchy, the container's own is read, the root of what the container sees.
    """
    affinity = len(os.sched_getaffinity(0))
    quota = _quota()
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def _quota() -> float | None:
    """Processors' worth of time that the control group may use; None without a limit."""
    # Version 2 has "200000 100000" or "max 100000" in one file, version 1 two files, and -1 for no limit.
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((CGROUPS / name).read_text() for name in names).split()
            return float(quota) / float(period) if float(quota) > 0 else None
        except (OSError, ValueError, ZeroDivisionError):  # no such file, "max"
            continue
    return None
