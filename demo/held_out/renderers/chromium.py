"""Pictures of pages by Chromium, which Playwright drives. Both are set up by `make page-check`."""

import functools
import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")


def path() -> str | None:
    """The path of Chromium: $CHROMIUM, or what the system has; None without it."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def screenshot(html: str, width: int, height: int) -> np.ndarray:
    """Shows a page in a window of so many pixels: uint8 [height, width, 3], RGB.

    The first call starts a browser, which ends with this process.

    Raises ImportError without Playwright, and Playwright's own error without Chromium.
    """
    return _thread().submit(_screenshot, html, width, height).result()


@functools.cache
def _thread() -> ThreadPoolExecutor:
    # Playwright's objects belong to one thread, in which no event loop of others may run.
    return ThreadPoolExecutor(1, thread_name_prefix="chromium")


@functools.cache
def _page() -> Any:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the environment may lack it

    browser = sync_playwright().start().chromium.launch(executable_path=path())
    return browser.new_page(device_scale_factor=1)


def _screenshot(html: str, width: int, height: int) -> np.ndarray:
    page = _page()
    page.set_viewport_size({"width": width, "height": height})
    page.set_content(html)
    with Image.open(io.BytesIO(page.screenshot())) as image:
        return np.asarray(image.convert("RGB"))
