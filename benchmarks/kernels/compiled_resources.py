"""Reports the registers, memory and access widths of the compiled Triton kernels; needs no GPU.

`python -m llava_interleave_serve.benchmarks.kernels.compiled_resources [--targets 80 90 gfx942]`

Launches each kernel at the sizes of the published models for several numbers of visuals, and compiles what Triton would
compile for these launches on each target: one variant, whatever the number. Registers, shared memory, stack and spills
are read from the binary (by cuobjdump; for AMD from the metadata in the assembly), the widths of global loads and
stores from the PTX (for AMD from the assembly). Prints a Markdown table and one JSON line last.
"""

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import triton
from triton.compiler import ASTSource

from llava_interleave_serve.benchmarks.kernels.recorded_launches import gpu, record
from llava_interleave_serve.kernels import index_plan
from llava_interleave_serve.kernels._triton import merge_prefill, patchify, pool_pack

TARGETS = ("80", "86", "89", "90", "100", "gfx942")
GRID, SIDE, PATCH = 27, 384, 14
VISUALS = (1, 2, 3, 4, 11, 64)
VOCABULARY = 152_000
THREADS = 128  # of a program, in every launch
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def launches(dtype: torch.dtype) -> dict[str, Callable[[int], object]]:
    """A launch of every kernel for so many visuals, at the widths of the 0.5B (1024) and 7B (4096) models.

    dtype: of the values. The tensors are on the meta device: they have sizes and addresses, and no memory.
    """

    def empty(*shape: int, dtype: torch.dtype = dtype) -> torch.Tensor:
        return torch.empty(*shape, dtype=dtype, device="meta")

    def cut(visuals: int) -> None:
        views = empty(visuals, SIDE, SIDE, 3, dtype=torch.uint8)
        patchify.launch(views, empty(3, dtype=torch.float32), empty(3, dtype=torch.float32), PATCH, dtype)

    def pool(visuals: int, channels: int, has_newline: bool) -> None:
        plan = index_plan.build(GRID, [index_plan.Packing("average", 2)] * visuals).to("meta")
        pool_pack.launch(empty(visuals, GRID**2, channels), plan, empty(channels) if has_newline else None)

    def merge(visuals: int, channels: int) -> None:
        tokens = visuals * (GRID**2 + 1)
        ids, row_index = empty(tokens, dtype=torch.int64), empty(tokens, dtype=torch.int32)
        merge_prefill.launch(ids, empty(VOCABULARY, channels), empty(visuals * GRID**2, channels), row_index)

    calls: dict[str, Callable[[int], object]] = {"patchify": cut}
    for channels in (1024, 4096):
        for has_newline in (False, True):
            name = f"pool_pack C={channels}{' newlines' * has_newline}"
            calls[name] = partial(pool, channels=channels, has_newline=has_newline)
        calls[f"merge_prefill C={channels}"] = partial(merge, channels=channels)
    return calls


def variants(launch: Callable[[int], object], target: str) -> list[ASTSource]:
    """What Triton compiles for the launches of VISUALS visuals, each variant once."""
    with record(target) as recorded:
        for visuals in VISUALS:
            launch(visuals)
    return list({each.key: each.source for each in recorded}.values())


def resources(source: ASTSource, target: str) -> dict[str, Any]:
    """Compiles a kernel and returns its registers, its shared memory, stack and spills in bytes, and widths in bits.

    target: one of TARGETS, a compute capability without its dot or an AMD architecture.
    """
    binary = triton.compile(source, target=gpu(target), options={"num_warps": THREADS // gpu(target).warp_size})
    if target.startswith("gfx"):
        assembly = binary.asm["amdgcn"]
        metadata = {name: int(value) for name, value in re.findall(r"\.(\w+):\s+(\d+)\n", assembly)}
        line = {"registers": metadata["vgpr_count"], "shared": metadata["group_segment_fixed_size"]}
        line["stack"] = metadata["private_segment_fixed_size"]
        line["spills"] = metadata["vgpr_spill_count"] + metadata["sgpr_spill_count"]
        return line | {"loads": _amd_widths(assembly, "load"), "stores": _amd_widths(assembly, "store")}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(binary.asm["cubin"])
        run = subprocess.run(
            [CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        )
    used = {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", run.stdout)}
    line = {"registers": used["REG"], "shared": used["SHARED"], "stack": used["STACK"], "spills": used["LOCAL"]}
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


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS), help="(all)")
    options.add_argument(
        "--dtype", choices=("fp16", "bf16", "fp32"), default="bf16", help="of the values (%(default)s)"
    )
    return options


def main() -> None:
    arguments = parser().parse_args()
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[arguments.dtype]
    lines = []
    for name, launch in launches(dtype).items():
        for target in arguments.targets:
            sources = variants(launch, target)
            head = {"kernel": name, "target": target if target.startswith("gfx") else f"sm_{target}"}
            lines += [head | {"variants": len(sources)} | resources(source, target) for source in sources]
    print(f"Triton {triton.__version__}, {', '.join(map(str, VISUALS))} visuals\n")
    print("| kernel | target | variants | registers | shared | stack | spills | loads (bits) | stores (bits) |")
    print("|---|---|---|---|---|---|---|---|---|")
    for line in lines:
        print("|", " | ".join(str(value).strip("[]") for value in line.values()), "|")
    print(json.dumps(lines))


if __name__ == "__main__":
    main()
