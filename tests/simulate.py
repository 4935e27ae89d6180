"""Run every kernel in Numba's CUDA simulator: python simulate.py IN.npy OUT.npz"""

import os
import sys

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # read when numba.cuda is imported

import numpy as np

from pcam_features.engine import cuda, planes
from pcam_features.families.catalog import FAMILIES


def main() -> None:
    batch = np.load(sys.argv[1])
    results = {"planes": np.zeros((len(batch), *planes.KERNEL.shape), np.uint8)}
    cuda.launch(planes.KERNEL, batch, planes.KERNEL.table, results["planes"])
    for name, family in FAMILIES.items():
        results[name] = np.zeros((len(batch), *family.kernel.shape), np.float32)
        cuda.launch(family.kernel, results["planes"], family.kernel.table, results[name])
    np.savez(sys.argv[2], **results)


main()
