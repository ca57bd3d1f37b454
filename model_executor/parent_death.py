"""Ends a process of the engine when the process that started it ends, however that ends."""

import ctypes
import os
import signal

PARENT_VARIABLE = (
    "LLAVA_INTERLEAVE_PARENT"  # process id of the server, or of the engine's process that started this one
)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def announce_parent() -> None:
    """Lets the processes that this one starts end with it. Called by `llava-interleave serve`."""
    os.environ[PARENT_VARIABLE] = str(os.getpid())


def end_with_parent() -> None:
    """Has the kernel kill this process when its parent dies, if the parent announced itself. May be called again.

    A server that is killed (by the out-of-memory killer, say) cannot end its children, and an engine left behind would
    keep the GPU's memory. Processes of plain vLLM are left as they are: the signal comes when the *thread* that started
    a process ends, and other programs may start an engine from a thread that ends early. See prctl(2).
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None or parent == str(os.getpid()):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):  # the parent died before the call
        os.kill(os.getpid(), signal.SIGKILL)
    announce_parent()
