"""Fixtures that every test may use."""

import importlib
import os

import pytest
from hypothesis import settings

# Tests of kernels run Triton's interpreter. Triton's own functions, which kernels call, are interpreted or not for good
# when they are imported, and any test's imports may bring them: so they come first.
os.environ["TRITON_INTERPRET"] = "1"
importlib.import_module("triton.language")
del os.environ["TRITON_INTERPRET"]  # servers that tests start are to run as they are

# A busy machine is no fault of the code.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")


@pytest.fixture
def anyio_backend() -> str:
    """The server runs on asyncio alone."""
    return "asyncio"
