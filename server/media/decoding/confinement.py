"""Takes from a process that decodes media what decoding does not need: a file that takes it over gains little."""

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h
MAX_OPEN_FILES = 64
NICENESS = 10  # a tenth of the processor's time where the event loop or the engine needs it; pictures can wait
# linux/landlock.h. The numbers of the system calls are the same on all architectures.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
GET_VERSION, PATH_BENEATH = 1, 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
# How many of the rights to files, to the network (TCP) and between processes (signals, abstract sockets) each version
# of the kernel's interface knows: Landlock can take only those.
RIGHTS = {1: (13, 0, 0), 2: (14, 0, 0), 3: (15, 0, 0), 4: (15, 2, 0), 5: (16, 2, 0), 6: (16, 2, 2)}
# What the interpreter, its packages and their libraries are read from: they are imported when they are needed.
LIBRARY_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache")
PACKAGE_ROOT = Path(__file__).resolve().parents[3]


def confine(memory_bytes: int) -> None:
    """Confines this process for good.

    It gives way to the server and the engine, ends with its parent, has `memory_bytes` of address space and
    MAX_OPEN_FILES open files, and can gain no privileges. Where the kernel has Landlock (Linux 5.13), it also opens no
    file but those of the interpreter and its packages, writes and starts none, and, with a newer kernel, makes no TCP
    connection and sends no signal.
    """
    os.nice(NICENESS)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
    ):
        resource.setrlimit(limit, (most, most))
    version = libc.syscall(CREATE_RULESET, None, 0, GET_VERSION)
    if version > 0:
        _restrict_files(libc, RIGHTS[min(version, max(RIGHTS))])


def _restrict_files(libc: ctypes.CDLL, rights: tuple[int, int, int]) -> None:
    attributes = struct.pack("=QQQ", *((1 << number) - 1 for number in rights))
    size = 8 * max(1, *(place + 1 for place, number in enumerate(rights) if number))  # of what this kernel knows
    ruleset = libc.syscall(CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return
    for folder in map(Path, {*LIBRARY_FOLDERS, sys.prefix, sys.base_prefix, *sys.path, str(PACKAGE_ROOT)}):
        with contextlib.suppress(OSError):  # there is no such folder
            fd = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            allowed = READ_FILE | READ_DIR if folder.is_dir() else READ_FILE
            libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", allowed, fd), 0)
            os.close(fd)
    libc.syscall(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
