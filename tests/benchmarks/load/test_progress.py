"""The progress line is written to a log and to a terminal."""

import asyncio
import io

import pytest

from llava_interleave_serve.benchmarks.load import progress as progress_module
from llava_interleave_serve.benchmarks.load.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_in_a_log_is_a_line_each_and_quiet_progress_is_none() -> None:
    log, silent = io.StringIO(), io.StringIO()
    Progress(log).update("one")
    Progress(silent, quiet=True).update("one")
    assert (log.getvalue(), silent.getvalue()) == ("one\n", "")


def test_progress_on_a_terminal_is_one_line_that_changes() -> None:
    terminal = Terminal()
    progress = Progress(terminal)
    progress.update("one")
    progress.update("two")
    assert "\n" not in terminal.getvalue()
    progress.write("three")
    progress.clear()
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().endswith("\r\x1b[2K")


@pytest.mark.anyio
async def test_the_progress_line_is_rewritten_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "ON_A_TERMINAL", 0.001)
    terminal, lines = Terminal(), iter(range(1000))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Progress(terminal).follow(lambda: f"line {next(lines)}"), 0.2)
    assert "line 0" in terminal.getvalue()
    assert "line 1" in terminal.getvalue()
