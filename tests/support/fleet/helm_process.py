"""Renders the chart in a process of its own: Helm is a library of Go's, with threads and signal handlers of its own.

Reads a JSON object a line, `{"values": …}` or `{"lint": true}`; answers each with a line, `{"error": …}` for a refusal.
"""

import json
import sys
from pathlib import Path
from typing import Any

import helm_python


def answer(folder: Path, release: dict[str, str], request: dict[str, Any]) -> dict[str, Any]:
    """What a request asks for."""
    try:
        if "lint" in request:
            report: dict[str, Any] = helm_python.lint(folder, strict=True)
            return report
        return {"rendered": helm_python.Chart.load(folder).render(request["values"], **release)}
    except helm_python.HelmError as error:
        return {"error": str(error)}


def main() -> None:
    folder, release = Path(sys.argv[1]), {"name": sys.argv[2], "namespace": sys.argv[3]}
    for line in sys.stdin:
        print(json.dumps(answer(folder, release, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
