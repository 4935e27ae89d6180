"""A damaged file in the cache of kernels is compiled anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import damaged_cache


def test_invariant_a_damaged_kernel_is_compiled_anew(tmp_path: Path) -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, damaged_cache.__file__],
        env=os.environ | {"PCAM_CACHE_DIR": str(tmp_path), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == list(damaged_cache.DAMAGES)
