"""Seconds from start to ready: this server beside vLLM's own, on the bundled demo checkpoint, in turns.

`python -m llava_interleave_serve.benchmarks.server.startup [--rounds N]`

Prints one line a start and one JSON line last. vLLM's own server is
`python -m vllm.entrypoints.openai.api_server --enforce-eager`, which finds our model class through the plugin, since
the class that vLLM has for this architecture cannot be imported next to a torch without torchvision.
"""

import argparse
import json
import statistics
from pathlib import Path

from llava_interleave_serve.benchmarks.server import processes

CHECKPOINT = Path(__file__).resolve().parents[2] / "demo" / "checkpoint"
OVERRIDE = json.dumps({"architectures": ["LlavaInterleaveForConditionalGeneration"]})
STOCK = processes.stock(CHECKPOINT, "--hf-overrides", OVERRIDE, "--enforce-eager", "--dtype", "float32")
# Each server's command, and the route that is 200 once it serves.
SERVERS = {"ours": (processes.ours(), "/ready"), "stock": (STOCK, "/health")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in SERVERS}
    for _ in range(rounds):
        for name, (command, route) in SERVERS.items():
            with processes.running(command, route) as server:
                seconds[name].append(round(server.seconds_to_ready, 1))
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    medians = {name: statistics.median(measured) for name, measured in seconds.items()}
    print(json.dumps({"seconds": seconds, "median": medians, "ratio": round(medians["ours"] / medians["stock"], 3)}))


if __name__ == "__main__":
    main()
