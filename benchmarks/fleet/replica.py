"""A server that shares this machine with another."""

import contextlib
from collections.abc import Sequence

from llava_interleave_serve.benchmarks.server import processes
from llava_interleave_serve.benchmarks.server.processes import Server

# Two engines would bind their threads to the same cores.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def running(options: Sequence[str] = (), port: int | None = None) -> contextlib.AbstractContextManager[Server]:
    """Runs a server with one thread until the block ends, by default of the demo and on any free port."""
    command = processes.own_command(*options)
    return processes.running_at(port or processes.free_port(), command, "/ready", None, ONE_THREAD)


def port_of(server: Server) -> int:
    """The port that it listens on."""
    return int(server.url.rpartition(":")[2])
