"""Compiles the parts of the media path that are written in C, when the server starts.

A build hook of the package would do it at installation, and two things would be lost: the wheel is pure Python, one for
every platform, and -march=native compiles for the processor that the server runs on, not the one that built the wheel.
What is written in C, and the libraries that could replace it: image/png.py and image/resize.py.
"""

import ctypes
import functools
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

SOURCES = ("resize.c", "png_unfilter.c")
OPTIONS = ("-O2", "-march=native", "-shared", "-fPIC", "-Wno-psabi")
FUNCTIONS = ("resize_height", "resize_width", "unfilter")
COMPILE_SECONDS = 60
REASON_CHARACTERS = 500
_loading = threading.Lock()
_inherited: list[int | None] = []  # of a process that decodes: what `inherit` was given
logger = logging.getLogger(__name__)


def library() -> ctypes.CDLL | None:
    """Returns the functions of SOURCES, compiled at the first call; None where there is no C compiler."""
    file = _inherited[0] if _inherited else compiled()
    return None if file is None else _load(file)


def inherit(file: int | None) -> None:
    """Has `library` load what another process has compiled, by the descriptor of its file; None: it could not."""
    _inherited[:] = [file]


def compiled() -> int | None:
    """Returns the descriptor of a file with the functions of SOURCES, compiled at the first call; None without them."""
    with _loading:  # threads that need the library meanwhile wait for it, instead of compiling it too
        return compile_once()


@functools.cache
def compile_once() -> int | None:
    """Compiles SOURCES, by $CC, gcc or clang; None, and a warning in the log, where that fails.

    Returns the descriptor of a file that has no name any more. Nothing is cached on disk: compiling takes a third of a
    second, and code for one processor may crash on another that sees the same disk.
    """
    sources = [str(Path(__file__).with_name(name)) for name in SOURCES]
    try:
        compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("gcc") or shutil.which("clang") or "cc"]
        with tempfile.TemporaryDirectory(prefix="llava-interleave-") as folder:
            path = Path(folder) / "media.so"
            command = [*compiler, *OPTIONS, "-o", str(path), *sources]
            subprocess.run(  # noqa: S603 - the operator's compiler
                command, check=True, capture_output=True, text=True, errors="replace", timeout=COMPILE_SECONDS
            )
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        functions = _load(file)
        for name in FUNCTIONS:
            getattr(functions, name)  # AttributeError where the library has no such function
        return file
    except (OSError, subprocess.SubprocessError, ValueError, AttributeError) as error:
        # Of a compiler's messages the first; a process that was ended or ran too long has none, or bytes.
        messages = getattr(error, "stderr", None)
        reason = str((isinstance(messages, str) and messages.strip()) or error).splitlines()[0][:REASON_CHARACTERS]
        logger.warning("no C code: Pillow alone resizes, and reads PNG, several times slower (%s)", reason)
        return None


@functools.cache
def _load(file: int) -> ctypes.CDLL:
    return ctypes.CDLL(f"/proc/self/fd/{file}")
