"""Compares the demo on two ranks, with a LoRA adapter and in int8 with the demo in one process, on this machine's CPU.

`python -m llava_interleave_serve.benchmarks.server.parallel_equivalence [--only NAME ...]`

Starts each configuration as a server, one at a time, each rank with one thread, and asks it the questions of
`answer_comparison` greedily: one after the other, and then all at once. The answers must be those of one process: the
same texts, and log probabilities within the configuration's bound; in int8 a few texts may differ. Prints a Markdown
table and, last, one JSON line. The exit code is 1 if answers differ by more, or a server does not serve.
"""

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from llava_interleave_serve.benchmarks.load.client.sender import connect
from llava_interleave_serve.benchmarks.model import derived_checkpoints
from llava_interleave_serve.benchmarks.openai_api import models
from llava_interleave_serve.benchmarks.reporting import text_tables
from llava_interleave_serve.benchmarks.server import answer_comparison, processes
from llava_interleave_serve.benchmarks.server.answer_comparison import Answer, Comparison
from llava_interleave_serve.server.config import DEMO_CHECKPOINT

# Nats. In float32 sums of other parts differ by a few roundings (6e-8) of each layer's values, and log probabilities of
# -20 have six decimals.
FLOAT32 = 1e-4
# With 8 bits each value is off by up to 0.4 % of its channel's or token's largest, in each layer. Twice what was
# measured; and an answer that is as likely as another may come instead of it.
INT8, INT8_DIFFERING = 1.0, 2
TIMEOUT = 300.0  # seconds for an answer
ADAPTER = "adapter"
# Prompts are computed each time, so that the second round compares batches and not cached prompts; visuals are kept.
COMMON = (
    "--dtype", "float32", "--kv-cache-memory-bytes", str(1 << 29), "--no-enable-prefix-caching",
    "--encoder-cache-visuals", "512",
)  # fmt: skip
THREADS = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
SPLIT, SHARED = ("--mm-encoder-tp-mode", "weights"), ("--mm-encoder-tp-mode", "data")
TP, PP, DP = (("--tensor-parallel-size", "2"), ("--pipeline-parallel-size", "2"), ("--data-parallel-size", "2"))


@dataclass(frozen=True)
class Configuration:
    """A way to serve the demo.

    Attributes:
        name: of `--only`.
        what: the same in words.
        checkpoint: a name of CHECKPOINTS.
        options: of `llava-interleave serve`.
        reference: the name of the configuration in one process whose answers are expected; None for such a one.
        bound: the largest difference of a log probability, nats.
        differing: the number of texts, of each round, that may differ.
        has_adapter: True if the questions go to the adapter.

    """

    name: str
    what: str
    checkpoint: str
    options: tuple[str, ...] = ()
    reference: str | None = None
    bound: float = FLOAT32
    differing: int = 0
    has_adapter: bool = False


REFERENCES = (
    Configuration("one", "one process", "demo"),
    Configuration("merged", "one process, the adapter merged into the weights", "merged"),
    Configuration("int8-one", "int8, one process", "int8"),
)
CONFIGURATIONS = (
    Configuration("tp2", "TP 2, the tower split", "demo", (*TP, *SPLIT), "one"),
    Configuration("tp2-data", "TP 2, the views shared out", "demo", (*TP, *SHARED), "one"),
    Configuration("pp2", "PP 2", "demo", PP, "one"),
    Configuration("dp2", "DP 2", "demo", DP, "one"),
    Configuration("lora", "LoRA, one process", "demo", (), "merged", has_adapter=True),
    Configuration("lora-tp2", "LoRA, TP 2", "demo", (*TP, *SHARED), "merged", has_adapter=True),
    Configuration("lora-pp2", "LoRA, PP 2", "demo", PP, "merged", has_adapter=True),
    Configuration("int8", "int8, language model", "int8", (), "one", INT8, INT8_DIFFERING),
    Configuration("int8-whole", "int8, tower and projector too", "int8-whole", (), "one", INT8, INT8_DIFFERING),
    Configuration("int8-tp2", "int8, TP 2, the tower split", "int8-whole", (*TP, *SPLIT), "one", INT8, INT8_DIFFERING),
    Configuration(
        "int8-tp2-data", "int8, TP 2, the views shared out", "int8-whole", (*TP, *SHARED), "one", INT8, INT8_DIFFERING
    ),
    Configuration("int8-pp2", "int8, PP 2", "int8", PP, "int8-one"),
)
CHECKPOINTS: dict[str, Callable[["Checkpoints", Path], Path]] = {
    "demo": lambda _, __: DEMO_CHECKPOINT,
    "adapter": lambda _, to: derived_checkpoints.adapter(DEMO_CHECKPOINT, to),
    "merged": lambda all_, to: derived_checkpoints.with_adapter_merged(DEMO_CHECKPOINT, all_.get("adapter"), to),
    "int8": lambda _, to: derived_checkpoints.in_int8(DEMO_CHECKPOINT, to),
    "int8-whole": lambda _, to: derived_checkpoints.in_int8(DEMO_CHECKPOINT, to, ()),
}


class Checkpoints:
    """Checkpoints made of the demo's, each when it is first asked for. folder: where they are written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, Path] = {}

    def get(self, name: str) -> Path:
        """The folder of a checkpoint of CHECKPOINTS."""
        if name not in self._made:
            self._made[name] = CHECKPOINTS[name](self, self._folder / name)
        return self._made[name]


@dataclass(frozen=True)
class Answers:
    """What a server answered.

    Attributes:
        alone: the questions one after the other.
        together: all at once.
        encoded: the number of visuals that the encoder caches of all ranks did not have.
        fault: why it did not answer; None if it did.

    """

    alone: Sequence[Answer] = ()
    together: Sequence[Answer] = ()
    encoded: int = 0
    fault: str | None = None


@dataclass(frozen=True)
class Result:
    """A configuration beside its reference.

    Attributes:
        configuration: what was served.
        alone: of the questions one after the other.
        together: of the questions all at once.
        encoded: visuals that were encoded, and those that the reference encoded.
        fault: why there is nothing to compare.

    """

    configuration: Configuration
    alone: Comparison | None = None
    together: Comparison | None = None
    encoded: tuple[int, int] = (0, 0)
    fault: str | None = field(default=None)

    @property
    def is_equal(self) -> bool:
        """True if texts and log probabilities differ no more than they may, and no visual was encoded twice."""
        may = self.configuration
        return self.encoded[0] == self.encoded[1] and all(
            each is not None and each.asked - each.same <= may.differing and each.difference <= may.bound
            for each in (self.alone, self.together)
        )


def fault_of(text: str) -> str:
    """The error that a server's log names first, or else its last line."""
    errors = re.findall(r"\b((?:\w+\.)*\w*(?:Error|Exception): \S.*|error: \S.*)", text)
    lines = text.strip().splitlines()
    return str(errors[0] if errors else lines[-1] if lines else "nothing was logged")[:300]


async def answers_of(url: str, *, has_adapter: bool) -> tuple[list[Answer], list[Answer]]:
    """Asks the server at the URL. Raises httpx.HTTPError if a question is not answered."""
    async with connect(url, None, TIMEOUT) as client:
        model = ADAPTER if has_adapter else await models.first_model(client)
        return await answer_comparison.ask_all(client, model, answer_comparison.questions())


def serve_and_ask(configuration: Configuration, checkpoints: Checkpoints) -> Answers:
    """Starts the configuration's server, asks it, and stops it."""
    options = [*COMMON, *configuration.options]
    if configuration.has_adapter:
        options += ["--lora-modules", f"{ADAPTER}={checkpoints.get('adapter')}"]
    command = processes.own_command(str(checkpoints.get(configuration.checkpoint)), *options)
    with tempfile.TemporaryDirectory() as name:
        try:
            with processes.running_server(command, folder=Path(name), **THREADS) as server:
                alone, together = asyncio.run(answers_of(server.url, has_adapter=configuration.has_adapter))
                encoded = int(server.metric("lis_visual_cache_misses_total"))
        except (RuntimeError, httpx.HTTPError):
            return Answers(fault=fault_of((Path(name) / processes.LOG).read_text()))
    return Answers(alone, together, encoded)


def result(configuration: Configuration, expected: Answers, answers: Answers) -> Result:
    """Compares a configuration's answers with those of its reference."""
    if fault := expected.fault or answers.fault:
        return Result(configuration, fault=fault)
    return Result(
        configuration,
        answer_comparison.compare(expected.alone, answers.alone),
        answer_comparison.compare(expected.alone, answers.together),
        (answers.encoded, expected.encoded),
    )


def check(configurations: Sequence[Configuration], ask: Callable[[Configuration], Answers]) -> list[Result]:
    """Asks the configurations and, each once and before the first that needs it, their references."""
    references = {each.name: each for each in REFERENCES}
    asked: dict[str, Answers] = {}
    results = []
    for each in configurations:
        name = each.reference or each.name
        if name not in asked:
            asked[name] = ask(references[name])
        results.append(result(each, asked[name], ask(each)))
        print(json.dumps(summary(results[-1:])), file=sys.stderr, flush=True)  # the rest may take minutes
    return results


def table(results: Sequence[Result]) -> str:
    """The results in Markdown."""
    rows = []
    for each in results:
        configuration = each.configuration
        row = [f"`{configuration.name}`: {configuration.what}", f"`{configuration.reference}`"]
        if each.alone is None or each.together is None:
            rows.append([*row, f"does not serve: {each.fault}".replace("|", "/"), "", "", "", ""])
            continue
        cells = [f"{compared.same} of {compared.asked}" for compared in (each.alone, each.together)]
        largest = [f"{compared.difference:.1e}" for compared in (each.alone, each.together)]
        encoded = " : ".join(map(str, each.encoded))
        rows.append([*row, ", ".join(cells), ", ".join(largest), f"{configuration.bound:g}", encoded,
                     "equal" if each.is_equal else "different"])  # fmt: skip
    header = ["configuration", "compared with", "equal texts, alone and at once", "largest difference, nats", "bound",
              "visuals encoded", ""]  # fmt: skip
    return text_tables.markdown(header, rows)


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """The results by the names of their configurations, for JSON."""
    return {
        each.configuration.name: {
            "equal": each.is_equal,
            "fault": each.fault,
            "bound": each.configuration.bound,
            "encoded": each.encoded,
            **{
                name: vars(compared)
                for name, compared in (("alone", each.alone), ("together", each.together))
                if compared is not None
            },
        }
        for each in results
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    named = {each.name: each for each in CONFIGURATIONS}
    parser.add_argument("--only", nargs="+", choices=named, default=[*named], metavar="NAME",
                        help=f"configurations, of {', '.join(named)} (all)")  # fmt: skip
    only = parser.parse_args().only
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the server is ended too
    with tempfile.TemporaryDirectory() as name:
        checkpoints = Checkpoints(Path(name))
        results = check([named[each] for each in only], lambda configuration: serve_and_ask(configuration, checkpoints))
    print(table(results))
    print(json.dumps(summary(results)))
    sys.exit(0 if all(each.is_equal for each in results) else 1)


if __name__ == "__main__":
    main()
