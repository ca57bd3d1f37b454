"""`llava-interleave worker`: which machine runs which command, and a model split over two of them."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from llava_interleave_serve.benchmarks.server import processes
from llava_interleave_serve.server import cli
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from tests.support import demo_server, scene_parts
from tests.support.demo_server import RunningServer

PATIENCE = 120  # seconds for a process to end


@pytest.mark.parametrize(
    ("command", "argv", "says"),
    [
        ("worker", [], "give --nnodes, --node-rank and --master-addr"),
        ("worker", ["--nnodes", "2", "--node-rank", "0"], "say `llava-interleave serve` there"),
        ("serve", ["--nnodes", "2", "--node-rank", "1"], "say `llava-interleave worker`"),
    ],
)
def test_a_command_on_the_wrong_machine_is_refused_with_the_right_one(
    command: str, argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.parse(argv, command)
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"llava-interleave {command}: error: ")
    assert says in last


@pytest.mark.usefixtures("on_every_platform")
def test_a_worker_takes_the_options_of_the_machine_that_serves() -> None:
    options = ["--tensor-parallel-size", "2", "--nnodes", "2", "--master-addr", "127.0.0.1", "--max-model-len", "4096"]
    head, worker = cli.parse([*options, "--node-rank", "0"]), cli.parse([*options, "--node-rank", "1"], "worker")
    vars(worker.engine_args)["node_rank"] = 0
    assert repr(worker.engine_args) == repr(head.engine_args)


@pytest.mark.engine
class TestTwoMachines:
    """Both are this one: two processes of one thread each."""

    @pytest.fixture(scope="class")
    def machines(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[tuple[RunningServer, "subprocess.Popen[bytes]"]]:
        folder = tmp_path_factory.mktemp("machines")
        options = [
            str(DEMO_CHECKPOINT), "--nnodes", "2", "--master-addr", "127.0.0.1",
            "--master-port", str(processes.free_port()),
            "--tensor-parallel-size", "2", "--dtype", "float32", "--kv-cache-memory-bytes", str(1 << 29),
        ]  # fmt: skip
        environment = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
        command = processes.own_command()[0]
        with contextlib.ExitStack() as stack:
            log = stack.enter_context((folder / "worker.log").open("wb"))
            worker = subprocess.Popen(
                [command, "worker", *options, "--node-rank", "1"],
                stdout=log, stderr=log, env=os.environ | environment,
            )  # fmt: skip
            stack.callback(_end, worker)
            head = [command, "serve", *options, "--node-rank", "0"]
            yield stack.enter_context(demo_server.running(head, folder, **environment)), worker

    def test_the_model_answers_as_well_as_on_one_machine(self, machines: Any) -> None:
        server, _ = machines
        questions = [
            scene_parts.question(family, seed) for family in ("describe", "which", "change") for seed in range(4)
        ]
        right = 0
        for content, expected in questions:
            answer = server.client.chat.completions.create(
                model=server.model, messages=[{"role": "user", "content": content}], temperature=0.0, max_tokens=48
            )
            right += answer.choices[0].message.content == expected
        assert right >= 10, f"{right} of {len(questions)}"

    def test_clients_see_a_503_when_a_machine_is_lost_and_the_server_ends(self, machines: Any) -> None:
        server, worker = machines
        seen: list[int] = []

        def ask() -> None:
            while True:
                try:
                    content, _ = scene_parts.question("describe", len(seen))
                    server.client.chat.completions.create(
                        model="", messages=[{"role": "user", "content": content}], temperature=0.0
                    )
                except openai.APIStatusError as error:
                    seen.append(error.status_code)
                    return
                except (openai.APIConnectionError, httpx.TransportError):
                    return

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        worker.send_signal(signal.SIGKILL)
        assert server.process.wait(PATIENCE) == 1
        for client in clients:
            client.join(PATIENCE)
        assert seen
        assert set(seen) == {503}


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
