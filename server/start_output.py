"""What vLLM writes while it starts: held back, and kept in a file if the start fails."""

import contextlib
import os
import re
import sys
import tempfile
import threading
import traceback
from typing import TextIO

HELD_BYTES = 4 << 20  # most that is held; of more, the first
# The last line of a stack in the engine's process: "(EngineCore pid=7) ERROR 11-28 16:06:44 [core.py:15] ValueError: x"
CAUSE = re.compile(r"^\(\w+ pid=\d+\) ERROR [^\]]*\] (?P<kind>[\w.]*(?:Error|Exception|Interrupt)): (?P<message>.+)$")
LOADING = "model_executor/weight_names.py"  # is in the stack while weights are given to the model
REASON_CHARACTERS = 500


class StartOutput:
    """Takes over stdout and stderr of this process and of those that it starts.

    Until `release` what they write is held; then it is passed on to where stderr led, line for line as it comes: the
    engine's process keeps the descriptors that it was started with.

    console: where stderr led.
    """

    def __init__(self, console: TextIO) -> None:
        self._console = console.fileno()
        self._saved = [os.dup(1), os.dup(2)]
        reading, writing = os.pipe()
        for number in (1, 2):
            os.dup2(writing, number)
        os.close(writing)
        self._held = bytearray()
        self._is_held = True
        self._lock = threading.Lock()
        self._pump = threading.Thread(target=self._read, args=[reading], daemon=True)
        self._pump.start()

    def _read(self, reading: int) -> None:
        while data := os.read(reading, 1 << 16):
            with self._lock:
                if self._is_held:
                    self._held += data[: HELD_BYTES - len(self._held)]
                else:
                    _write(self._console, data)
        os.close(reading)

    def _restore(self) -> None:
        """Gives this process its stdout and stderr back."""
        sys.stdout.flush()
        sys.stderr.flush()
        for number, saved in zip((1, 2), self._saved, strict=True):
            os.dup2(saved, number)
            os.close(saved)

    def release(self) -> None:
        """Passes on what was held, and what comes from now on."""
        self._restore()
        with self._lock:
            _write(self._console, bytes(self._held))
            self._is_held = False
            self._held.clear()

    def keep(self, error: BaseException) -> str | None:
        """Writes what was held, and the error's own stack, to a file; returns its path.

        Where no file can be written, they go to the console.
        """
        self._restore()
        self._pump.join(1.0)  # until the engine's process has ended, which holds the other end
        with self._lock:
            text = bytes(self._held)
        text += "".join(traceback.format_exception(error)).encode(errors="replace")
        try:
            with tempfile.NamedTemporaryFile("wb", prefix="llava-interleave-", suffix=".log", delete=False) as file:
                file.write(text)
        except OSError:
            _write(self._console, text)
            return None
        return file.name

    @property
    def held(self) -> str:
        """What has been written so far."""
        with self._lock:
            return self._held.decode(errors="replace")


def _write(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more; the engine's process must not wait for that
        while data:
            data = data[os.write(descriptor, data) :]


def reason(error: BaseException, output: str) -> str:
    """Why the engine did not start, in one line: what its own process said last of all, or else the error's message."""
    causes = [match for line in output.splitlines() if (match := CAUSE.match(line))]
    if causes:
        text = f"{causes[-1]['message']} ({causes[-1]['kind'].rpartition('.')[2]})"
        if LOADING in output:
            text = f"loading its weights, which must fit its config.json: {text}"
    else:
        messages = error.errors() if hasattr(error, "errors") else []  # pydantic's
        text = str(messages[0]["msg"]).removeprefix("Value error, ") if messages else str(error) or repr(error)
        text = f"{text.strip().splitlines()[0]} ({type(error).__name__})"
    return text if len(text) <= REASON_CHARACTERS else f"{text[:REASON_CHARACTERS]}..."
