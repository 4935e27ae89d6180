"""Compiles the kernels for CUDA without a GPU and reports the resources that each one uses.

`python -m pcam_features.diagnostics.kernel_usage` prints docs/kernels.md. It needs the extra `dev`,
which includes CUDA's assembler `ptxas`.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numba
import numpy as np

from ..engine import cuda
from ..engine.kernel import LANES, Kernel

CAPABILITIES = ((7, 5), (8, 0), (9, 0))  # Turing, Ampere, Hopper
SHARED_BYTES = 48 * 1024  # shared memory that every GPU gives a block by default


@dataclass(frozen=True)
class Usage:
    """GPU resources of one kernel.

    `registers` is per thread. `shared` is the shared memory of a block in bytes. `stack` and
    `spilled` are the bytes of stack and of spilled registers per thread.
    """

    registers: int
    shared: int
    stack: int
    spilled: int


def compile_ptx(kernel: Kernel, capability: tuple[int, int]) -> str:
    """Compile a kernel to PTX, for GPUs of the compute capability `capability` or later."""
    from numba import cuda as numba_cuda
    from numba.cuda import dispatcher

    arguments = (
        numba.types.Array(numba.uint8, 4, "C"),
        numba.typeof(kernel.table),
        numba.typeof(np.empty((0, *kernel.work), kernel.work_dtype)),
        numba.typeof(np.empty((0, *kernel.shape), kernel.dtype)),
    )
    # Compiling a nested device function queries the current device, so a stand-in is provided.
    device = SimpleNamespace(compute_capability=capability)
    with patch.object(dispatcher, "get_current_device", lambda: device):
        ptx, _ = numba_cuda.compile_ptx(cuda.block_of(kernel), arguments, cc=capability)
    return str(ptx)


def find_ptxas() -> str | None:
    """The path of CUDA's assembler: from the extra `dev`, or else from the system, or None."""
    package = importlib.util.find_spec("nvidia")
    for folder in package.submodule_search_locations or () if package else ():
        path = Path(folder) / "cuda_nvcc" / "bin" / "ptxas"
        if path.is_file():
            return str(path)
    return shutil.which("ptxas")


def assemble(ptx: str, capability: tuple[int, int], ptxas: str) -> Usage:
    """Assemble PTX and read its resource usage. Raises subprocess.CalledProcessError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        target = f"-arch=sm_{capability[0]}{capability[1]}"
        command = [ptxas, "-v", target, str(path), "-o", str(path.with_suffix(".cubin"))]
        log = subprocess.run(command, check=True, capture_output=True, text=True).stderr  # noqa: S603

    def largest(pattern: str) -> int:
        return max((int(n) for n in re.findall(pattern, log)), default=0)

    return Usage(
        registers=largest(r"Used (\d+) registers"),
        shared=largest(r"(\d+) bytes smem"),
        stack=largest(r"(\d+) bytes stack frame"),
        spilled=largest(r"(\d+) bytes spill stores"),
    )


def main() -> None:
    """Print docs/kernels.md."""
    from ..families import planes
    from ..families.registry import FAMILIES

    ptxas = find_ptxas()
    assert ptxas, "ptxas is not installed; run pip install 'pcam-features[dev]'"
    print(
        "# GPU resources of the kernels\n\n`make docs` generates this table. It compiles every kernel "
        "with `ptxas`, which needs no GPU.\n\n"
        "- registers: per thread\n"
        f"- shared: shared memory in bytes per block; one block of {LANES} threads per patch\n"
        "- stack, spilled: bytes of stack and of spilled registers per thread\n"
        "- memory per patch: global GPU memory in bytes for each patch of a batch\n\n"
        "No kernel needs more than 48 KB of shared memory, which every GPU gives a block.\n"
    )
    print("| kernel | architecture | registers | shared | stack | spilled | memory per patch |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for kernel in [planes.KERNEL, *(family.kernel for family in FAMILIES.values())]:
        for capability in CAPABILITIES:
            usage = assemble(compile_ptx(kernel, capability), capability, ptxas)
            counts = f"{usage.registers} | {usage.shared:,} | {usage.stack:,} | {usage.spilled:,}"
            card = f"sm_{capability[0]}{capability[1]}"
            print(f"| `{kernel.name}` | {card} | {counts} | {kernel.bytes_per_patch:,} |")


if __name__ == "__main__":
    main()
