"""The CUDA build gives the CPU's numbers: in the simulator, and on a card where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import degenerate
from planes_of import features_of, planes_of

from pcam_features.diagnostics.doctor import PARITY
from pcam_features.diagnostics.kernel_usage import (
    CAPABILITIES,
    SHARED_BYTES,
    assemble,
    compile_ptx,
    find_ptxas,
)
from pcam_features.engine import cpu, devices
from pcam_features.engine.devices import cuda_problem, numba_problem
from pcam_features.families import planes
from pcam_features.families.registry import FAMILIES, measurer

KERNELS = {"planes": planes.KERNEL} | {name: f.kernel for name, f in FAMILIES.items()}


@pytest.fixture(scope="module")
def some(synthetic_batch: np.ndarray) -> np.ndarray:
    return np.stack([synthetic_batch[0], degenerate()["half_glass"]])


@pytest.fixture(scope="module")
def simulated(some: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    # The simulator is ordinary Python, so each patch has a process of its own.
    folder = tmp_path_factory.mktemp("simulator")
    running = []
    for k, patch in enumerate(some):
        np.save(folder / f"{k}.npy", patch[None])
        words = [Path(__file__).with_name("simulate.py"), folder / f"{k}.npy", folder / f"{k}.npz"]
        running.append(subprocess.Popen([sys.executable, *words]))
    assert [process.wait(timeout=600) for process in running] == [0] * len(some)
    found = []
    for k in range(len(some)):
        with np.load(folder / f"{k}.npz") as one:
            found.append(dict(one))
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def test_parity_planes(simulated: dict[str, np.ndarray], some: np.ndarray) -> None:
    np.testing.assert_array_equal(simulated["planes"], planes_of(some))


@pytest.mark.parametrize("family", FAMILIES)
def test_parity_simulator(family: str, simulated: dict[str, np.ndarray], some: np.ndarray) -> None:
    expected = np.stack(list(features_of(some, family).values()), axis=1)
    # Counts are integers and each sum has one owner, so only the last formulas could differ.
    np.testing.assert_allclose(simulated[family], expected, rtol=1e-6, atol=1e-7)


def test_parity_histograms_have_the_same_bits(
    simulated: dict[str, np.ndarray], some: np.ndarray
) -> None:
    expected = np.stack(list(features_of(some, "histogram").values()), axis=1)
    np.testing.assert_array_equal(simulated["histogram"], expected)


@pytest.mark.skipif(numba_problem() is not None, reason=str(numba_problem()))
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", KERNELS)
def test_mechanics_compiles_to_ptx_and_assembles(name: str, capability: tuple[int, int]) -> None:
    compiled = compile_ptx(KERNELS[name], capability)
    assert f"sm_{capability[0]}{capability[1]}" in compiled
    assert "bar.sync" in compiled
    assert "%tid.x" in compiled  # lanes are threads
    assert name not in ("color", "histogram", "glcm") or "atom." in compiled  # which share their counts
    ptxas = find_ptxas()
    assert ptxas, "the extra dev brings ptxas"
    usage = assemble(compiled, capability, ptxas)
    assert 0 < usage.registers <= 255
    assert usage.shared <= SHARED_BYTES


def test_mechanics_a_numba_that_cannot_compile_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        raise AttributeError("module 'numpy' has no attribute 'row_stack'")

    monkeypatch.setattr(devices.importlib, "import_module", load)
    problem = numba_problem()
    assert problem is not None
    assert problem.startswith(f"numba-cuda does not work with NumPy {np.__version__} (")
    assert problem.endswith('needs "numpy<2.5")')


@pytest.mark.gpu
@pytest.mark.skipif(cuda_problem() is not None, reason=f"no GPU: {cuda_problem()}")
def test_parity_on_the_card(batch: np.ndarray) -> None:
    from pcam_features.engine import cuda

    measured = measurer(list(FAMILIES.values()), cuda)(batch, list(FAMILIES))
    for name in FAMILIES:
        expected = np.stack(list(features_of(batch, name).values()), axis=1)
        np.testing.assert_allclose(measured[name], expected, **PARITY, err_msg=name)


def test_mechanics_kernels_are_compiled_ahead_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = [planes.KERNEL, FAMILIES["glrlm"].kernel]
    monkeypatch.setenv("PCAM_CACHE_DIR", str(tmp_path))
    assert not cpu.compiled_before(kernels)
    cpu.compile_ahead(kernels)
    assert cpu.compiled_before(kernels)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    monkeypatch.setattr(subprocess, "Popen", None)  # nothing is left to start a process for
    cpu.compile_ahead(kernels)
    cpu.prepare(kernels[1])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == before
    # Numba looks for what it compiled by the path of the source: another checkout has nothing yet.
    other = Path(shutil.copytree(cpu.PACKAGE, tmp_path / "checkout" / cpu.PACKAGE.name))
    monkeypatch.setattr(cpu, "PACKAGE", other)
    assert not cpu.compiled_before(kernels)


def test_mechanics_two_processes_may_compile_at_once(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from pcam_features.engine import cpu;"
        "from pcam_features.families import planes;"
        "print(cpu.prepare(planes.KERNEL)(np.full((1, 96, 96, 3), 9, np.uint8)).sum())"
    )
    environment = os.environ | {"PCAM_CACHE_DIR": str(tmp_path)}
    start = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = {process.communicate(timeout=300)[0] for process in start}
    assert [process.returncode for process in start] == [0, 0]
    assert len(outputs) == 1
    assert len(list(tmp_path.rglob("*.nbc"))) == 1
