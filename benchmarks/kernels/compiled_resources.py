"""What the Triton kernels compile to, without a GPU.

`python -m llava_interleave_serve.benchmarks.kernels.compiled_resources [--targets 80 90 gfx942]`

Compiles each kernel for each target at the sizes of the published models, specialised as a launch specialises it, and
reads registers, shared memory, stack and spills from the binary (cuobjdump; for AMD the assembly's own notes) and the
width of global loads and stores from the PTX (AMD: the assembly). Prints a Markdown table and one JSON line last.
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
THREADS = 128  # of every launch
ROWS = VISUALS * GRID**2
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


@dataclass(frozen=True)
class Case:
    """A kernel as its launcher calls it. arguments: a pointer's type ("*bf16"), an int's value, or a constant."""

    name: str
    kernel: Any
    arguments: dict[str, Any]

    def source(self) -> ASTSource:
        """The kernel with the specialisation of a launch: aligned pointers, and ints that 16 divides."""
        signature, constants, divisible = {}, {}, {}
        for at, parameter in enumerate(self.kernel.params):
            value = self.arguments[parameter.name]
            if parameter.is_constexpr:
                signature[parameter.name], constants[parameter.name] = "constexpr", value
                continue
            signature[parameter.name] = value if isinstance(value, str) else ("i32" if value < 2**31 else "i64")
            if isinstance(value, str) or value % 16 == 0:
                divisible[(at,)] = [["tt.divisibility", 16]]
        return ASTSource(self.kernel, signature, constants, divisible)


def cases(dtype: str = "*bf16") -> list[Case]:
    """Every kernel at the widths of the 0.5B (1024) and 7B (4096) models."""
    side, patch = 384, 14
    found = [
        Case("patchify", patchify.patchify_kernel, {
            "p_views": "*u8", "p_scale": "*fp32", "p_shift": "*fp32", "p_out": dtype, "n_out": ROWS * patch**2 * 3,
            "SIDE": side, "GRID": GRID, "PATCH": patch, "RUN": patchify.contiguous_bytes(side, patch),
            "BLOCK": patchify.BLOCK,
        }),
    ]  # fmt: skip
    for channels in (1024, 4096):
        block = min(pool_pack.MAX_BLOCK, channels)
        found += [
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
    return found


def compiled(case: Case, target: str) -> dict[str, Any]:
    """What a kernel compiles to: registers, shared memory in bytes, stack and spills in bytes, widths in bits."""
    is_amd = target.startswith("gfx")
    where = GPUTarget("hip", target, 64) if is_amd else GPUTarget("cuda", int(target), 32)
    binary = triton.compile(case.source(), target=where, options={"num_warps": THREADS // where.warp_size})
    line: dict[str, Any] = {"kernel": case.name, "target": target if is_amd else f"sm_{target}"}
    if is_amd:
        assembly = binary.asm["amdgcn"]
        note = {name: int(value) for name, value in re.findall(r"\.(\w+):\s+(\d+)\n", assembly)}
        line |= {"registers": note["vgpr_count"], "shared": note["group_segment_fixed_size"]}
        line["stack"] = note["private_segment_fixed_size"]
        line["spills"] = note["vgpr_spill_count"] + note["sgpr_spill_count"]
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
    """The widths in bits of the loads ("ld") or stores ("st") of global memory, each once."""
    found = re.findall(rf"\b{instruction}\.global(?:\.\w+)*?(?:\.v(\d))?\.[bfsu](\d+)\b", ptx)
    return sorted({int(vector or 1) * int(bits) for vector, bits in found})


def _amd_widths(assembly: str, instruction: str) -> list[int]:
    found = re.findall(rf"\b(?:global|buffer)_{instruction}_(\w+)", assembly)
    bits = {"ubyte": 8, "sbyte": 8, "byte": 8, "ushort": 16, "short": 16, "dword": 32}
    widths = set()
    for word in found:
        name = word.removesuffix("_d16_hi").removesuffix("_d16").removesuffix("_d16_hi")
        many = re.fullmatch(r"dwordx(\d+)", name)
        widths.add(32 * int(many[1]) if many else bits[name.split("_")[0]])
    return sorted(widths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--dtype", choices=("fp16", "bf16", "fp32"), default="bf16")
    arguments = parser.parse_args()
    lines = [compiled(case, target) for case in cases(f"*{arguments.dtype}") for target in arguments.targets]
    print("| kernel | target | registers | shared | stack | spills | loads (bits) | stores (bits) |")
    print("|---|---|---|---|---|---|---|---|")
    for line in lines:
        print("|", " | ".join(str(value).strip("[]") for value in line.values()), "|")
    print(json.dumps(lines))


if __name__ == "__main__":
    main()
