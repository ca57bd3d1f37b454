"""The process's limit of open files, and how many connections it leaves space for."""

import resource
from pathlib import Path

SHARE = 0.8  # of the free descriptors; the rest are for media, decode processes and the engine
BACKLOG_SHARE = 0.1  # as many are accepted at once, before any of them is counted
MOST_DESCRIPTORS = 1 << 20  # a limit without bound would have libraries keep tables of a thousand million entries
MOST_BACKLOG = 2048


def raise_limit() -> None:
    """Raises the soft limit of open files to the hard one: the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """The number of connections that the server may have at once."""
    return max(1, int(_free() * SHARE))


def backlog() -> int:
    """The number of connections that may wait to be accepted."""
    return max(1, min(MOST_BACKLOG, int(_free() * BACKLOG_SHARE)))


def _free() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    return limit - len(list(Path("/proc/self/fd").iterdir()))
