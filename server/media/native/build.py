"""What of the media path is written in C, compiled at the start for the processor that it runs on."""

import ctypes
import functools
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = ("resize.c", "png_unfilter.c")
OPTIONS = ("-O2", "-march=native", "-shared", "-fPIC", "-Wno-psabi")
COMPILE_SECONDS = 60
logger = logging.getLogger(__name__)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The functions of SOURCES; None where there is no C compiler (by $CC, or gcc, clang), which is logged.

    Nothing is kept on disk: it takes a third of a second, and what is compiled for one processor may crash another.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("gcc") or shutil.which("clang") or "cc"]
    sources = [str(Path(__file__).with_name(name)) for name in SOURCES]
    try:
        with tempfile.TemporaryDirectory(prefix="llava-interleave-") as folder:
            path = Path(folder) / "media.so"
            command = [*compiler, *OPTIONS, "-o", str(path), *sources]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_SECONDS)  # noqa: S603 - the operator's compiler
            return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        logger.warning("no C compiler: Pillow alone resizes, and reads PNG, several times slower (%s)", said)
        return None
