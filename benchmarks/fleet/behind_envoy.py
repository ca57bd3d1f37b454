"""Runs the load test or the evaluation against two servers of the bundled demo behind Envoy.

`python -m llava_interleave_serve.benchmarks.fleet.behind_envoy bench demo --rate 4 --duration 60 --verify`

The arguments are those of `llava-interleave`; `--url` is added. Each server has one thread, and Envoy is as
deploy/envoy.yaml has it. Prints the requests that each server has answered, as a JSON line, last.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from llava_interleave_serve.benchmarks.fleet import envoy, replica
from llava_interleave_serve.benchmarks.server import processes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["bench", "eval"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [stack.enter_context(replica.running()) for _ in range(2)]
        front = stack.enter_context(envoy.before(map(replica.port_of, servers), folder))
        program = processes.own_command()[0]
        address = ["--url", front.url] if arguments.command == "bench" else ["--base-url", f"{front.url}/v1"]
        command = [program, arguments.command, *arguments.arguments, *address]
        code = subprocess.run(command, check=False).returncode
        answered = [int(server.metric("vllm:request_success_total")) for server in servers]
    print(json.dumps({"answered_by": answered}))
    return code


if __name__ == "__main__":
    sys.exit(main())
