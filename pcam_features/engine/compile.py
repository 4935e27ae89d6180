"""Compiles kernels for the CPU and caches them: python -m pcam_features.engine.compile MODULE …

Numba compiles one function at a time per process, whatever its threads. Therefore `cpu.compile_ahead`
starts this module once per core when kernels are first used on a machine.
"""

from __future__ import annotations

import importlib
import sys

from . import cpu


def main(modules: list[str]) -> None:
    """Compile the kernel of each module: `KERNEL`, or else the kernel of `FAMILY`."""
    for name in modules:
        module = importlib.import_module(name)
        cpu.prepare(module.KERNEL if hasattr(module, "KERNEL") else module.FAMILY.kernel)


if __name__ == "__main__":
    main(sys.argv[1:])
