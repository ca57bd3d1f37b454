"""Reports the registers, memory and access widths of the compiled Triton kernels; needs no GPU.

`python -m llava_interleave_serve.benchmarks.kernels.compiled_resources [--targets 80 90 gfx942]`

Compiles each kernel for each target at the sizes of the published models, specialised as a launch specialises it.
Registers, shared memory, stack and spills are read from the binary (by cuobjdump; for AMD from the metadata in the
assembly), the widths of global loads and stores from the PTX (for AMD from the assembly). Prints a Markdown table and
one JSON line last.
"""

import argparse
import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from llava_interleave_serve.kernels._triton import merge_prefill, patchify, pool_pack

TARGETS = ("80", "86", "89", "90", "100", "gfx942")
GRID, VISUALS = 27, 64
THREADS = 128  # of a program, in every launch
ROWS = VISUALS * GRID**2
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


@dataclass(frozen=True)
class Case:
    """A kernel as its launcher calls it."""

    name: str
    kernel: Any
    """The function that triton.jit decorates."""
    arguments: dict[str, Any]
    """By parameter: the type of a pointer ("*bf16"), the value of an int, or the value of a constexpr."""

    def source(self) -> ASTSource:
        """The kernel with the specialisation of a launch: pointers are aligned, and so is each int that 16 divides."""
        signature, constants, divisible = {}, {}, {}
        for index, parameter in enumerate(self.kernel.params):
            value = self.arguments[parameter.name]
            if parameter.is_constexpr:
                signature[parameter.name], constants[parameter.name] = "constexpr", value
                continue
            signature[parameter.name] = value if isinstance(value, str) else ("i32" if value < 2**31 else "i64")
            if isinstance(value, str) or value % 16 == 0:
                divisible[(index,)] = [["tt.divisibility", 16]]
        return ASTSource(self.kernel, signature, constants, divisible)


def cases(dtype: str = "*bf16") -> list[Case]:
    """Every kernel at the widths of the 0.5B (1024) and 7B (4096) models. dtype: of the values, as a pointer type."""
    side, patch = 384, 14
    launches = [
        Case("patchify", patchify.patchify_kernel, {
            "p_views": "*u8", "p_scale": "*fp32", "p_shift": "*fp32", "p_out": dtype, "n_out": ROWS * patch**2 * 3,
            "SIDE": side, "GRID": GRID, "PATCH": patch, "RUN": patchify.contiguous_bytes(side, patch),
            "BLOCK": patchify.BLOCK,
        }),
    ]  # fmt: skip
    for channels in (1024, 4096):
        block = min(pool_pack.MAX_BLOCK, channels)
        launches += [
            Case(f"pool_pack C={channels}", pool_pack.pool_pack_kernel, {
                "p_features": dtype, "p_plan": "*i32", "p_newline": dtype, "p_out": dtype,
                "s_visual": GRID**2 * channels, "s_patch": channels, "CHANNELS": channels, "GRID": GRID,
                "HAS_NEWLINE": False, "BLOCK": block,
            }),
            Case(f"merge_prefill C={channels}", merge_prefill.merge_prefill_kernel, {
                "p_ids": "*i64", "p_table": dtype, "p_rows": dtype, "p_row_index": "*i32", "p_out": dtype,
                "s_table": channels, "s_rows": channels, "CHANNELS": channels, "BLOCK": block,
            }),
        ]  # fmt: skip
    return launches


def resources(case: Case, target: str) -> dict[str, Any]:
    """Compiles a kernel and returns its registers, its shared memory, stack and spills in bytes, and widths in bits.

    target: one of TARGETS, a compute capability without its dot or an AMD architecture.
    """
    is_amd = target.startswith("gfx")
    gpu = GPUTarget("hip", target, 64) if is_amd else GPUTarget("cuda", int(target), 32)
    binary = triton.compile(case.source(), target=gpu, options={"num_warps": THREADS // gpu.warp_size})
    line: dict[str, Any] = {"kernel": case.name, "target": target if is_amd else f"sm_{target}"}
    if is_amd:
        assembly = binary.asm["amdgcn"]
        metadata = {name: int(value) for name, value in re.findall(r"\.(\w+):\s+(\d+)\n", assembly)}
        line |= {"registers": metadata["vgpr_count"], "shared": metadata["group_segment_fixed_size"]}
        line["stack"] = metadata["private_segment_fixed_size"]
        line["spills"] = metadata["vgpr_spill_count"] + metadata["sgpr_spill_count"]
        return line | {"loads": _amd_widths(assembly, "load"), "stores": _amd_widths(assembly, "store")}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(binary.asm["cubin"])
        run = subprocess.run(
            [CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        )
    used = {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", run.stdout)}
    line |= {"registers": used["REG"], "shared": used["SHARED"], "stack": used["STACK"], "spills": used["LOCAL"]}
    return line | {"loads": _widths(binary.asm["ptx"], "ld"), "stores": _widths(binary.asm["ptx"], "st")}


def _widths(ptx: str, instruction: str) -> list[int]:
    """The widths in bits of the loads ("ld") or stores ("st") of global memory in PTX, each once."""
    matches = re.findall(rf"\b{instruction}\.global(?:\.\w+)*?(?:\.v(\d))?\.[bfsu](\d+)\b", ptx)
    return sorted({int(vector or 1) * int(bits) for vector, bits in matches})


def _amd_widths(assembly: str, instruction: str) -> list[int]:
    """The widths in bits of the "load"s or "store"s of global memory in AMD's assembly, each once."""
    matches = re.findall(rf"\b(?:global|buffer)_{instruction}_(\w+)", assembly)
    bits = {"ubyte": 8, "sbyte": 8, "byte": 8, "ushort": 16, "short": 16, "dword": 32}
    widths = set()
    for suffix in matches:
        name = suffix.removesuffix("_d16_hi").removesuffix("_d16").removesuffix("_d16_hi")
        several = re.fullmatch(r"dwordx(\d+)", name)
        widths.add(32 * int(several[1]) if several else bits[name.split("_")[0]])
    return sorted(widths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS), help="(all)")
    parser.add_argument("--dtype", choices=("fp16", "bf16", "fp32"), default="bf16", help="of the values (%(default)s)")
    arguments = parser.parse_args()
    lines = [resources(case, target) for case in cases(f"*{arguments.dtype}") for target in arguments.targets]
    print("| kernel | target | registers | shared | stack | spills | loads (bits) | stores (bits) |")
    print("|---|---|---|---|---|---|---|---|")
    for line in lines:
        print("|", " | ".join(str(value).strip("[]") for value in line.values()), "|")
    print(json.dumps(lines))


if __name__ == "__main__":
    main()
