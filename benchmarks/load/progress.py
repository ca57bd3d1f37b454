"""A line on stderr with the state of a run."""

import asyncio
import sys
from collections.abc import Callable
from typing import TextIO

ON_A_TERMINAL = 0.5  # seconds between lines, each over the last
IN_A_LOG = 10.0  # seconds between lines, one below the other


class Progress:
    """Writes lines to `out` (stderr if None); if that is a terminal, each replaces the last. Nothing if `quiet`."""

    def __init__(self, out: TextIO | None = None, *, quiet: bool = False) -> None:
        self.out = out or sys.stderr
        self.quiet = quiet
        self.live = self.out.isatty()

    def update(self, line: str) -> None:
        """Writes the line in place of the last."""
        if not self.quiet:
            self.out.write(f"\r\x1b[2K{line}" if self.live else f"{line}\n")
            self.out.flush()

    def write(self, line: str) -> None:
        """Writes a line that is not replaced."""
        self.update(f"{line}\n" if self.live else line)

    def clear(self) -> None:
        """Erases the line, for other output to take its place."""
        if self.live and not self.quiet:
            self.out.write("\r\x1b[2K")
            self.out.flush()

    async def follow(self, line: Callable[[], str]) -> None:
        """Updates to what `line` returns, at intervals, until cancelled."""
        while True:
            await asyncio.sleep(ON_A_TERMINAL if self.live else IN_A_LOG)
            self.update(line())
