"""Fixtures that every test may use."""

import pytest
from hypothesis import settings

# A busy machine is no fault of the code.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")


@pytest.fixture
def anyio_backend() -> str:
    """The server runs on asyncio alone."""
    return "asyncio"
