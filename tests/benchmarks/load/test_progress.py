"""The line that tells how a run is going."""

import io

from llava_interleave_serve.benchmarks.load.progress import Progress, state
from tests.support.load_exchanges import exchange


def test_the_line_counts_what_was_sent_is_running_and_failed() -> None:
    done = exchange([(11.0, b"x"), (12.0, b"y")])
    running = exchange([(10.5, b"x")], ended=0.0)
    refused = exchange([(10.1, b"x")], status=429)
    line = state(12.0, [done, running, refused], 9)
    assert line == "12.0 s  sent 3/9  running 1  answered 1  failed 1  first bytes 0.50 s"


def test_a_log_has_a_line_each_and_quiet_has_none() -> None:
    log, silent = io.StringIO(), io.StringIO()
    Progress(log).say("one")
    Progress(silent, quiet=True).say("one")
    assert (log.getvalue(), silent.getvalue()) == ("one\n", "")


def test_a_terminal_has_one_line_that_changes() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    progress = Progress(terminal)
    progress.say("one")
    progress.say("two")
    assert "\n" not in terminal.getvalue()
    progress.keep("three")
    progress.end()
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().endswith("\r\x1b[2K")
