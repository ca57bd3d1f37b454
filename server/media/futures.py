"""Futures whose result nobody may be left to take."""

import asyncio
from typing import Any


def take_exception(done: asyncio.Future[Any]) -> None:
    """Takes the exception of a future that is done, as a callback of it: asyncio would log it with its stack."""
    if not done.cancelled():
        done.exception()
