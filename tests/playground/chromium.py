"""Chromium for tests of the playground, driven by Playwright; neither is needed by any other test."""

import importlib.util

from llava_interleave_serve.demo.held_out.renderers import chromium

MISSING = "needs Chromium and Playwright: make page-check"


def path() -> str | None:
    """The path of Chromium: $CHROMIUM, or what the system has; None without Playwright or without Chromium."""
    return None if importlib.util.find_spec("playwright") is None else chromium.path()
