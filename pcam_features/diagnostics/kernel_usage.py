"""What CUDA's compiler makes of the kernels, which needs no card: PTX, and what ptxas counts.

`python -m pcam_features.diagnostics.kernel_usage` prints the table of docs/kernels.md; it needs the
extra `dev`.
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
SHARED_BYTES = 48 * 1024  # what every card gives a block without being asked for more


@dataclass(frozen=True)
class Usage:
    """What one kernel takes on a card: registers of a thread; bytes of shared memory of a block, of
    stack and of spilled registers of a thread."""

    registers: int
    shared: int
    stack: int
    spilled: int


def compile_ptx(kernel: Kernel, capability: tuple[int, int]) -> str:
    """The kernel in PTX, for cards of `capability` and later."""
    from numba import cuda as numba_cuda
    from numba.cuda import dispatcher

    arguments = (
        numba.types.Array(numba.uint8, 4, "C"),
        numba.typeof(kernel.table),
        numba.typeof(np.empty((0, *kernel.work), kernel.work_dtype)),
        numba.typeof(np.empty((0, *kernel.shape), kernel.dtype)),
    )
    # A nested device function asks for the current device: answer in its place.
    device = SimpleNamespace(compute_capability=capability)
    with patch.object(dispatcher, "get_current_device", lambda: device):
        ptx, _ = numba_cuda.compile_ptx(cuda.block_of(kernel), arguments, cc=capability)
    return str(ptx)


def find_ptxas() -> str | None:
    """CUDA's assembler: the one that the extra `dev` brings, or the system's."""
    package = importlib.util.find_spec("nvidia")
    for folder in package.submodule_search_locations or () if package else ():
        path = Path(folder) / "cuda_nvcc" / "bin" / "ptxas"
        if path.is_file():
            return str(path)
    return shutil.which("ptxas")


def assemble(ptx: str, capability: tuple[int, int], ptxas: str) -> Usage:
    """Assemble PTX. Raises subprocess.CalledProcessError if ptxas refuses it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        target = f"-arch=sm_{capability[0]}{capability[1]}"
        command = [ptxas, "-v", target, str(path), "-o", str(path.with_suffix(".cubin"))]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr  # noqa: S603

    def largest(pattern: str) -> int:
        return max((int(n) for n in re.findall(pattern, said)), default=0)

    return Usage(
        registers=largest(r"Used (\d+) registers"),
        shared=largest(r"(\d+) bytes smem"),
        stack=largest(r"(\d+) bytes stack frame"),
        spilled=largest(r"(\d+) bytes spill stores"),
    )


def main() -> None:
    from ..families import planes
    from ..families.registry import FAMILIES

    ptxas = find_ptxas()
    assert ptxas, "the extra dev brings ptxas"
    print(
        "# Kernels on a card\n\nWhat `ptxas` counts for each kernel, assembled without a card by "
        "`make docs`: registers of a\nthread, bytes of shared memory of a block "
        f"({LANES} threads, one patch), of stack and of spilled\nregisters of a thread; and bytes "
        "of the card's own memory for each patch of a batch. No kernel needs\nmore than the 48 KB "
        "of shared memory that every card gives.\n"
    )
    print("| kernel | card | registers | shared | stack | spilled | memory a patch |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for kernel in [planes.KERNEL, *(family.kernel for family in FAMILIES.values())]:
        for capability in CAPABILITIES:
            usage = assemble(compile_ptx(kernel, capability), capability, ptxas)
            counts = f"{usage.registers} | {usage.shared:,} | {usage.stack:,} | {usage.spilled:,}"
            card = f"sm_{capability[0]}{capability[1]}"
            print(f"| `{kernel.name}` | {card} | {counts} | {kernel.bytes_per_patch:,} |")


if __name__ == "__main__":
    main()
