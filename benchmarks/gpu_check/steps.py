"""The steps of `make gpu-check`, and the servers that some of them ask."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llava_interleave_serve.benchmarks.gpu_check import results
from llava_interleave_serve.benchmarks.server import processes

MODULES = "llava_interleave_serve.benchmarks"
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
URL, REPORT = "{url}", "{report}"  # stand in commands for the server's, and for the file of a load test's report
CONTEXT = "16384"  # of all servers of the real size: the paper's 16 images have 11,664 tokens
# Whatever a serving step does that waits for the device, or that compiles a kernel, ends our engine.
NO_COMPILATION = ("--jit-monitor-mode", "error")
NO_WAITING = {"VLLM_GPU_SYNC_CHECK": "error"}


@dataclass(frozen=True)
class Served:
    """A server that steps ask: started for the first of them, and stopped when another one is asked.

    Attributes:
        name: in the table.
        command: without the port.
        route: that is answered with 200 once it serves.
        decides: True if it is a wrong result that it does not start.
        environment: variables that it has besides.
        seconds: to become ready.
        package: that must be installed, or the steps are left out.
        parser: Python that reads the command's options as the server does, from sys.argv[1:].
        options: of the command, those that the parser reads.

    """

    name: str
    command: Sequence[str]
    options: Sequence[str]
    route: str
    parser: str
    decides: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    seconds: int = 240
    package: str | None = None


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: in the table.
        command: whose URL and REPORT are filled in.
        decides: True if a fault is a wrong result.
        seconds: after which it is ended.
        server: that it asks.
        read: what it has found.
        needs: file without which it is left out.
        makes: file for which it is run; if there is one, it is not.
        needs_gpu: True if a dry run only checks its options and reads `recorded`.
        environment: variables that it has besides.
        recorded: what such a command has once written, for a dry run: its output, or the file of its report.

    """

    name: str
    command: Sequence[str]
    decides: bool
    seconds: int
    server: Served | None = None
    read: results.Reader = results.json_line
    needs: Path | None = None
    makes: Path | None = None
    needs_gpu: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    recorded: str | Path = ""


def module(name: str, *options: str) -> list[str]:
    """The command line of a module of the benchmarks."""
    return [sys.executable, "-m", f"{MODULES}.{name}", *options]


def load_test(*options: str) -> list[str]:
    """The command line of the load test, which writes a report."""
    return [str(Path(sys.executable).with_name("llava-interleave")), "bench", *options, "--quiet", "--json", REPORT]


OURS = "import sys; from llava_interleave_serve.server import cli; cli.parse(sys.argv[1:])"
VLLM = (
    "import sys; from vllm.utils.argparse_utils import FlexibleArgumentParser as Parser; "
    "from vllm.entrypoints.launchers.cli_args import make_arg_parser; "
    "make_arg_parser(Parser()).parse_args(sys.argv[1:])"
)
SGLANG = "import sys; from sglang.srt.server_args import prepare_server_args; prepare_server_args(sys.argv[1:])"


def ours(name: str, *options: str) -> Served:
    """This server, whose engine ends where a step waits for the device or compiles a kernel."""
    options = (*options, *NO_COMPILATION)
    command = processes.own_command(*options)
    return Served(name, command, options, "/ready", OURS, decides=True, environment=NO_WAITING)


def peers(checkpoint: Path) -> list[Served]:
    """The other servers, on the same checkpoint: vLLM's own, and SGLang if it is installed beside it."""
    images = ("--limit-mm-per-prompt", '{"image": 64}')
    vllm = ("--model", str(checkpoint), "--dtype", "bfloat16", "--max-model-len", CONTEXT, *images)
    sglang = ("--model-path", str(checkpoint), "--dtype", "bfloat16", "--context-length", CONTEXT)
    return [
        Served("vLLM's own server", [*processes.vllm_command(checkpoint), *vllm[2:]], vllm, "/health", VLLM),
        Served(
            "SGLang",
            [sys.executable, "-m", "sglang.launch_server", *sglang],
            sglang,
            "/health",
            SGLANG,
            package="sglang",
        ),
    ]


def all_steps(checkpoint: Path) -> list[Step]:
    """The steps in their order: those that decide come before the measurements, as far as they share a server.

    checkpoint: folder of random weights of the 0.5B's dimensions, made if it is not there.
    """
    demo = ours("this server, demo")
    real = ours("this server, 0.5B", str(checkpoint), "--dtype", "bfloat16", "--max-model-len", CONTEXT)
    weights = checkpoint / "model.safetensors.index.json"  # which is written last
    return [
        Step("kernels as compiled", module("kernels.compiled_resources"), True, 120, needs_gpu=False),
        Step(
            "operators and encoder",
            [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/kernels", "tests/model_executor"],
            decides=True,
            seconds=240,
            read=results.last_line,
            needs_gpu=False,  # without one, all are skipped
            environment={"TRITON_INTERPRET": "0"} | NO_WAITING,
        ),
        Step(
            "kernels, us and share of copy bandwidth",
            module("kernels.speed"),
            decides=True,
            seconds=240,
            recorded='{"device": "cpu", "copy_gb_s": 28.5, "operators": [{"operator": "patchify", "gb_s": 5.5}]}',
        ),
        Step(
            "known answers under load",
            load_test("demo", "--url", URL, "--rate", "8", "--duration", "30", "--verify"),
            decides=True,
            seconds=180,
            server=demo,
            read=results.known_answers,
            recorded=EXAMPLES / "demo.json",
        ),
        Step(
            "64 requests at once and alone",
            module("server.batch_equivalence", "--base-url", URL),
            decides=True,  # that they are answered; how many are the same is a figure
            seconds=120,
            server=demo,
            recorded='{"requests": 64, "same": 64, "running_at_once": 64.0, "seconds_alone": 8.3, '
            '"seconds_together": 1.9}',
        ),
        Step(
            "checkpoint of random weights",
            module("model.random_checkpoint", "0.5b", str(checkpoint)),
            decides=False,
            seconds=180,
            read=results.last_line,
            makes=weights,
        ),
        *(
            Step(
                f"tower with and without graphs{', compiled' * compiles}",
                module("model.tower", str(checkpoint), *["--compile"] * compiles),
                decides=True,
                seconds=180,
                needs=weights,
                environment=NO_WAITING,
                recorded='{"checkpoint": "0.5b", "calls": [{"views": 1, "ms": {"eager": 1500.1}, "distance": '
                '{"eager": 0.0}, "wrong": []}]}',
            )
            for compiles in (False, True)
        ),
        Step(
            "256 stride-4 visuals, twice at once",
            module("server.many_visuals", "--url", URL),
            decides=True,
            seconds=120,
            server=real,
            needs=weights,
            recorded='{"requests": 2, "visuals": 256, "faults": [], "same_alone": 2}',
        ),
        *(step for served in (real, *peers(checkpoint)) for step in measurements(served, weights)),
    ]


def measurements(served: Served, weights: Path) -> list[Step]:
    """What is measured of each server of the real size."""
    pools = ["--cases", "1 image", "4 images", "8 images", "16 frames", "16 frames pooled"] * served.decides
    search = ("--search", "--rate", "4", "--duration", "15", "--drain", "20", "--most-points", "6", "--timeout", "60")
    return [
        Step(
            f"prefill, {served.name}",
            module("peers.prefill", "--url", URL, *pools),
            decides=False,
            seconds=120,
            server=served,
            needs=weights,
            recorded='{"ceiling_gflops": 393, "cases": {"1 image": {"s_to_first_token": 3.4, "tokens_per_s": 226, '
            '"of_the_ceiling": 0.86}}}',
        ),
        Step(
            f"the paper's mix, highest rate within its targets, {served.name}",
            load_test("paper", "--url", URL, *search),
            decides=False,
            seconds=240,
            server=served,
            read=results.rate_search,
            needs=weights,
            recorded=EXAMPLES / "highest.json",
        ),
    ]
