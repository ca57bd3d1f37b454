"""Asks the server whose address a file has whether it lives: the container's health check.

`python -m llava_interleave_serve.server.health_check` ends with code 0 if it does, else with 1 and a sentence. It
imports the standard library alone, so that it takes no longer than a busy machine allows.
"""

import ipaddress
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

ADDRESS_FILE_VARIABLE = "LLAVA_INTERLEAVE_ADDRESS_FILE"
SECONDS = 4.0  # to answer


def url_of(host: str, port: int) -> str:
    """The URL at which a server that listens on this address is reached from its own machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"


def main() -> int:
    """The exit code."""
    path = os.environ.get(ADDRESS_FILE_VARIABLE)
    if not path:
        print(f"{ADDRESS_FILE_VARIABLE} is not set", file=sys.stderr)
        return 1
    try:
        url = Path(path).read_text().strip()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy is for others than oneself
        opener.open(f"{url}/health", timeout=SECONDS).close()
    except (OSError, ValueError) as error:
        print(f"the server does not answer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
