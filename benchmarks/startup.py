"""Seconds from start to ready: this server beside vLLM's own, on the bundled demo checkpoint, in turns.

`python benchmarks/startup.py [--rounds N]`; prints one line a start and one JSON line last. vLLM's own server is
`python -m vllm.entrypoints.openai.api_server --enforce-eager`, which finds our model class through the plugin, since
the class that vLLM has for this architecture cannot be imported next to a torch without torchvision.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx

CHECKPOINT = Path(__file__).resolve().parent.parent / "demo" / "checkpoint"
OVERRIDE = json.dumps({"architectures": ["LlavaInterleaveForConditionalGeneration"]})
DEADLINE = 600.0


def commands(port: int) -> dict[str, tuple[list[str], str]]:
    """Each server's command, and the route that is 200 once it serves."""
    ours = [str(Path(sys.executable).with_name("llava-interleave")), "serve", "--port", str(port)]
    stock = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(CHECKPOINT)]
    stock += ["--hf-overrides", OVERRIDE, "--enforce-eager", "--dtype", "float32", "--port", str(port)]
    return {"ours": (ours, "/ready"), "stock": (stock, "/health")}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def seconds_to_ready(name: str) -> float:
    """Starts a server, waits until it serves, and stops it. Raises RuntimeError if it ends or hangs instead."""
    port = free_port()
    command, route = commands(port)[name]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    try:
        while time.monotonic() - started < DEADLINE and process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{port}{route}").status_code == httpx.codes.OK:
                    return time.monotonic() - started
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError(f"{name} did not become ready: {' '.join(command)}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {"ours": [], "stock": []}
    for _ in range(rounds):
        for name, measured in seconds.items():
            measured.append(round(seconds_to_ready(name), 1))
            print(f"{name}: {measured[-1]:.1f} s", flush=True)
    medians = {name: statistics.median(measured) for name, measured in seconds.items()}
    print(json.dumps({"seconds": seconds, "median": medians, "ratio": round(medians["ours"] / medians["stock"], 3)}))


if __name__ == "__main__":
    main()
