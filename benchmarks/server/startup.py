"""Measures the seconds from start to ready of this server and of vLLM's own, on the bundled demo checkpoint, in turns.

`python -m llava_interleave_serve.benchmarks.server.startup [--rounds N]`

Prints one line a start and one JSON line last. vLLM's own server is
`python -m vllm.entrypoints.openai.api_server --enforce-eager`. It is made to use our model class, which it finds
through the plugin, since vLLM's class for this architecture cannot be imported without a torchvision.
"""

import argparse
import json
import statistics

from llava_interleave_serve.benchmarks.server import processes
from llava_interleave_serve.server.config import DEMO_CHECKPOINT

OVERRIDE = json.dumps({"architectures": ["LlavaInterleaveForConditionalGeneration"]})
VLLM = processes.vllm_command(DEMO_CHECKPOINT, "--hf-overrides", OVERRIDE, "--enforce-eager", "--dtype", "float32")
# Each server's command, and the route that is answered with 200 once it serves.
SERVERS = {"ours": (processes.own_command(), "/ready"), "stock": (VLLM, "/health")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="starts of each server (%(default)s)")
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in SERVERS}
    for _ in range(rounds):
        for name, (command, route) in SERVERS.items():
            with processes.running_server(command, route) as server:
                seconds[name].append(round(server.seconds_to_ready, 1))
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    medians = {name: statistics.median(measured) for name, measured in seconds.items()}
    print(json.dumps({"seconds": seconds, "median": medians, "ratio": round(medians["ours"] / medians["stock"], 3)}))


if __name__ == "__main__":
    main()
