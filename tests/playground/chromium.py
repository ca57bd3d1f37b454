"""Chromium for tests of the playground, driven by Playwright; neither is needed by any other test."""

import importlib.util
import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "needs Chromium and Playwright: make page-check"


def path() -> str | None:
    """The path of Chromium: $CHROMIUM, or what the system has; None without Playwright or without Chromium."""
    if importlib.util.find_spec("playwright") is None:
        return None
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
