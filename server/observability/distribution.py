"""The name and version by which this software tells others of itself."""

import importlib.metadata

DISTRIBUTION = "llava-interleave-serve"


def version() -> str:
    """The version that is installed."""
    return importlib.metadata.version(DISTRIBUTION)
