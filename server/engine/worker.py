"""The process of `llava-interleave worker`: a machine that computes a part of a model, which another one serves."""

import logging
import signal
import types
from typing import Any

from llava_interleave_serve.server.engine.defaults import prepare_environment
from llava_interleave_serve.server.engine.vllm_engine import engine_config

logger = logging.getLogger("llava_interleave_serve")
END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ended(BaseException):
    """A signal has told the process to end."""


def rank_fault(command: str, machines: int, rank: int) -> str | None:
    """Why a machine with these --nnodes and --node-rank cannot run `serve` or `worker`; None if it can."""
    if command == "worker" and machines == 1:
        return "worker is for a model over several machines: give --nnodes, --node-rank and --master-addr"
    if command == "worker" and rank == 0:
        return "--node-rank 0 is the machine that serves: say `llava-interleave serve` there"
    if command == "serve" and rank != 0:
        return f"--node-rank {rank} does not serve: say `llava-interleave worker` with the same options there"
    return None


def work(engine_args: Any, name: str, *, sizes_memory: bool) -> int:
    """Computes until a signal, or until a machine of the model is lost.

    engine_args: vLLM's AsyncEngineArgs, those of the machine that serves but for the rank. name: of the model.
    sizes_memory: as VllmEngine has it. Returns the exit code: 0 after a signal, else 1.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(asctime)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    logger.setLevel(logging.INFO)
    prepare_environment(engine_args.enforce_eager)
    for number in END_SIGNALS:
        signal.signal(number, _end)
    machine = f"machine {engine_args.node_rank} of the {engine_args.nnodes} of {name}"
    try:
        _compute(engine_args, machine, sizes_memory=sizes_memory)
    except Ended:
        logger.info("a signal has ended %s", machine)
        return 0
    except Exception:
        logger.exception("%s cannot compute", machine)
        return 1
    logger.error("%s has lost a process, here or on another machine; exiting", machine)
    return 1


def _compute(engine_args: Any, machine: str, *, sizes_memory: bool) -> None:
    """Runs this machine's processes of the model until one of them ends."""
    from llava_interleave_serve.server.engine import vllm_compat  # noqa: PLC0415 - reads the environment

    vllm_config, _, _ = engine_config(engine_args, sizes_memory=sizes_memory, headless=True)
    parallel = vllm_config.parallel_config
    logger.info("%s waits for %s:%d, which serves", machine, parallel.master_addr, parallel.master_port)
    executor = vllm_compat.MultiprocExecutor(vllm_config, monitor_workers=False)
    logger.info("%s computes", machine)
    try:
        executor.start_worker_monitor(inline=True)
    finally:
        executor.shutdown()


def _end(number: int, frame: types.FrameType | None) -> None:
    raise Ended
