"""Compile kernels for the CPU and keep them: python -m pcam_features.engine.compile MODULE …

Numba compiles one function at a time in a process, whatever its threads: `cpu.compile_ahead` runs
this once for each core, the first time that kernels are used on a machine.
"""

from __future__ import annotations

import importlib
import sys

from . import cpu


def main(modules: list[str]) -> None:
    """Compile the kernel of each module: its `KERNEL`, or that of its `FAMILY`."""
    for name in modules:
        module = importlib.import_module(name)
        cpu.prepare(module.KERNEL if hasattr(module, "KERNEL") else module.FAMILY.kernel)


if __name__ == "__main__":
    main(sys.argv[1:])
