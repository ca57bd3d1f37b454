"""Records what Triton would compile for a launch, without a GPU and without compiling anything."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.driver import driver


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel.

    Attributes:
        kernel: name of the function that triton.jit decorates.
        key: of the compiled kernel in Triton's cache: launches with equal ones share a variant.
        source: the kernel, specialised as this launch specialises it.

    """

    kernel: str
    key: str
    source: ASTSource


class _Driver:
    """The few answers that Triton needs of a device's driver before it compiles."""

    def __init__(self, target: GPUTarget) -> None:
        self._target = target

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return hash((self._target.backend, self._target.arch))  # Triton keeps a cache for each

    def get_current_stream(self, device: int) -> int:
        return 0


def gpu(target: str) -> GPUTarget:
    """Triton's name of a compute capability without its dot ("90") or an AMD architecture ("gfx942")."""
    return GPUTarget("hip", target, 64) if target.startswith("gfx") else GPUTarget("cuda", int(target), 32)


@contextlib.contextmanager
def record(target: str) -> Iterator[list[Launch]]:
    """While it is on, launches on any tensors run nothing, and are recorded as those of the target.

    Raises RuntimeError if this process interprets kernels.
    """
    if triton.knobs.runtime.interpret:
        raise RuntimeError("kernels are interpreted in this process: TRITON_INTERPRET is set")
    launches: list[Launch] = []

    def note(*, key: str, fn: Any, compile: dict[str, Any], **_: Any) -> bool:  # noqa: A002 - the hook's name
        source = ASTSource(fn.jit_function, compile["signature"], compile["constants"], compile["configs"][0])
        launches.append(Launch(fn.name, key, source))
        return True  # nothing is to be compiled

    active, hook = driver._active, triton.knobs.runtime.jit_cache_hook
    driver.set_active(_Driver(gpu(target)))
    triton.knobs.runtime.jit_cache_hook = note
    try:
        yield launches
    finally:
        driver._active = active
        triton.knobs.runtime.jit_cache_hook = hook
