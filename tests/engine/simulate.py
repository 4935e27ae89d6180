"""Run every kernel in Numba's CUDA simulator: python simulate.py IN.npy OUT.npz"""

import os
import sys

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # read when numba.cuda is imported

import numpy as np

from pcam_features.engine import cuda
from pcam_features.engine.kernel import Kernel
from pcam_features.families import planes
from pcam_features.families.registry import FAMILIES


def main() -> None:
    batch = np.load(sys.argv[1])
    results = {"planes": run(planes.KERNEL, batch)}
    for name, family in FAMILIES.items():
        results[name] = run(family.kernel, results["planes"])
    np.savez(sys.argv[2], **results)


def run(kernel: Kernel, patches: np.ndarray) -> np.ndarray:
    out = np.zeros((len(patches), *kernel.shape), kernel.dtype)
    work = np.zeros((len(patches), *kernel.work), kernel.work_dtype)
    cuda.launch(kernel, patches, kernel.table, work, out)
    return out


main()
