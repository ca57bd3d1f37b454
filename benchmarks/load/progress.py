"""A line on stderr that tells how a run is going."""

import asyncio
import sys
from collections.abc import Sequence
from typing import TextIO

from llava_interleave_serve.benchmarks.load.client.clock import Clock
from llava_interleave_serve.benchmarks.load.client.exchange import Exchange
from llava_interleave_serve.benchmarks.load.results.request_metrics import SUCCESS

ON_A_TERMINAL = 0.5  # seconds between lines, each over the last
IN_A_LOG = 10.0  # seconds between lines, one below the other
RECENT = 20  # answers that the shown time to first bytes is the median of


class Progress:
    """Writes to `out`; if that is a terminal, each line replaces the last."""

    def __init__(self, out: TextIO | None = None, *, quiet: bool = False) -> None:
        self.out = out or sys.stderr
        self.quiet = quiet
        self.live = self.out.isatty()

    def say(self, line: str) -> None:
        if not self.quiet:
            self.out.write(f"\r\x1b[2K{line}" if self.live else f"{line}\n")
            self.out.flush()

    def keep(self, line: str) -> None:
        """Writes a line that stays."""
        self.say(f"{line}\n" if self.live else line)

    def end(self) -> None:
        """Leaves the line."""
        if self.live and not self.quiet:
            self.out.write("\r\x1b[2K")
            self.out.flush()

    async def follow(self, clock: Clock, exchanges: Sequence[Exchange], planned: int) -> None:
        """Tells of a run until cancelled."""
        while True:
            await asyncio.sleep(ON_A_TERMINAL if self.live else IN_A_LOG)
            self.say(state(clock.now(), exchanges, planned))


def state(now: float, exchanges: Sequence[Exchange], planned: int) -> str:
    """`12.0 s  sent 34/60  running 5  answered 28  failed 1  first bytes 0.84 s`"""
    ended = [one for one in exchanges if not one.running]
    failed = sum(bool(one.failed) or one.status != SUCCESS for one in ended)
    firsts = sorted(one.pieces[0][0] - one.due for one in list(exchanges)[-4 * RECENT :] if one.pieces)[-RECENT:]
    words = [f"{now:.1f} s", f"sent {len(exchanges)}/{planned}", f"running {len(exchanges) - len(ended)}"]
    words += [f"answered {len(ended) - failed}", f"failed {failed}"]
    if firsts:
        words.append(f"first bytes {firsts[len(firsts) // 2]:.2f} s")
    return "  ".join(words)
