"""Both sides of a program that is measured in a process of its own, where requests and replies are lines of JSON.

The parent starts `python -m MODULE` on a fixed number of cores, writes one request a line to its standard input and
reads one reply a line from its standard output. A reply begins with REPLY, because libraries print to the same stream.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

REPLY = "reply "


def requests() -> Iterator[Any]:
    """The child's side: yields the parent's requests until the parent closes the stream."""
    return map(json.loads, sys.stdin)


def reply(value: Any) -> None:
    """The child's side: answers the last request."""
    print(REPLY + json.dumps(value), flush=True)


class PeerProcess:
    """The parent's side. A context manager: the process ends with the block."""

    def __init__(self, module: str, *options: str, cores: int, extra_path: Path | None = None) -> None:
        """Starts `python -m MODULE OPTIONS` on the first `cores` cores, with `extra_path` before its PYTHONPATH."""
        paths = [str(extra_path or ""), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "VLLM_NO_USAGE_STATS": "1"}
        affinity = ["taskset", "-c", ",".join(map(str, range(cores)))]
        self._module = module
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [*affinity, sys.executable, "-m", module, *options],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip

    def ask(self, request: Any) -> Any:
        """Sends a request and returns the reply to it.

        Raises RuntimeError, with what the process wrote to its standard error, if it ends without a reply.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("the process was started without pipes")
        print(json.dumps(request), file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith(REPLY):
                return json.loads(line.removeprefix(REPLY))
        self._errors.seek(0)
        raise RuntimeError(f"{self._module} failed:\n{self._errors.read()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        self._errors.close()
