"""`--cluster` with `dask scheduler` and `dask worker`, and workers that something is wrong with."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from campaign.test_full_disks import mount
from conftest import Result, files_in
from dask_processes import WAIT, Processes, end, small_parts, wait_until

import pcam_features as pcam_api
from pcam_features.convert.synthesize import synthesize
from pcam_features.execution import cluster
from pcam_features.storage.costs import FILE, MEASURED
from pcam_features.storage.files import TEMPORARY
from pcam_features.store.layout import MANIFEST

pytest.importorskip("distributed", reason="Dask is not installed (extra cluster)")

Run = Callable[..., Result]
EXTRACT = ("--families", "color", "--copies", "0", "--threads", "1")
files_of = partial(files_in, without=("lock", MEASURED, FILE))
FIT = ("--folds", "3", "--threads", "1")
OTHER_VERSION = "import pcam_features\npcam_features.__version__ = '0.0.1'\n"
NO_PCAM = "import sys\nsys.modules['pcam_features'] = None\n"
SMALL_PARTS = small_parts(10)  # where work has to have many units
SLOWLY = """
import time
from pcam_features.extraction import on_cluster
at_once = getattr(on_cluster, "at_once", on_cluster.measure_part)  # Dask runs this file twice
def slowly(unit):
    time.sleep(0.5)
    return at_once(unit)
on_cluster.at_once, on_cluster.measure_part = at_once, slowly
"""
COMMAND = "from pcam_features.__main__ import main\nmain()\n"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A scheduler with two workers."""
    with Processes(tmp_path_factory.mktemp("dask") / "scheduler.json") as started:
        started.worker()
        started.worker("--no-nanny")
        started.wait_for(2)
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "patches"
    synthesize(folder, patches=120, slides=12, seed=4)
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and a model that one process made."""
    made = tmp_path_factory.mktemp("here")
    wanted: dict[str, Any] = {"threads": 1, "progress": None}
    pcam_api.extract(folder, made / "store", families="color", copies=0, **wanted)
    pcam_api.fit(made / "store", made / "model", folds=3, **wanted)
    return made


def test_parity_the_commands_use_workers_by_address_and_by_file(
    pcam: Run, there: Processes, folder: Path, expected: Path, tmp_path: Path
) -> None:
    store, model = tmp_path / "store", tmp_path / "model"
    done = pcam("extract", folder, store, *EXTRACT, "--cluster", there.address)
    assert done.code == 0, done.err
    assert f"cluster {there.address}: 2 units of work at a time" in done.err
    assert files_of(store) == files_of(expected / "store")
    done = pcam("fit", expected / "store", model, *FIT, "--cluster", there.file)
    assert done.code == 0, done.err
    assert files_of(model) == files_of(expected / "model")


def extracting(folder: Path, store: Path, *more: object) -> subprocess.Popen[str]:
    """Start `pcam extract` with small parts, in a process of its own."""
    words = ["extract", folder, store, *EXTRACT, *more]
    return subprocess.Popen(
        [sys.executable, "-c", SMALL_PARTS + COMMAND, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def extract(folder: Path, store: Path) -> None:
    """Extract with small parts, without a cluster."""
    command = extracting(folder, store)
    said = command.communicate(timeout=WAIT)[1]
    assert command.returncode == 0, said


def test_mechanics_ctrl_c_cancels_what_is_queued_and_the_next_run_goes_on(
    folder: Path, tmp_path: Path
) -> None:
    """Units that run are finished by their workers; they are few, because the others are canceled."""
    from distributed import Client

    store, whole = tmp_path / "store", tmp_path / "threads"
    extract(folder, whole)
    with Processes(tmp_path / "scheduler.json", SMALL_PARTS + SLOWLY) as slow:
        slow.worker("--no-nanny")
        slow.wait_for(1)
        command = extracting(folder, store, "--cluster", slow.file)
        wait_until(lambda: any(store.rglob("part-*.parquet")))
        command.send_signal(signal.SIGINT)
        said = command.communicate(timeout=WAIT)[1]
        with Client(slow.address, set_as_default=False) as client:
            wait_until(lambda: not client.run_on_scheduler(tasks_left))
        done = len(list(store.rglob("part-*.parquet")))
    assert command.returncode == 130, said
    assert "Traceback" not in said
    assert said.endswith("\nstopped; run the same command again\n"), said
    assert done < len(list(whole.rglob("part-*.parquet")))
    extract(folder, store)
    assert files_of(store) == files_of(whole)


def tasks_left(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def test_mechanics_tls_certificates_come_from_dask_s_configuration(
    pcam: Run, folder: Path, expected: Path, tmp_path: Path
) -> None:
    """The scheduler takes no connection without a certificate, and pcam has no option for one."""
    import dask

    certificate, key = certified(tmp_path)
    options = [f"--tls-ca-file={certificate}", f"--tls-cert={certificate}", f"--tls-key={key}"]
    tls = "distributed.comm.tls"
    own = {f"{tls}.ca-file": certificate, f"{tls}.client.cert": certificate, f"{tls}.client.key": key}
    command = ("extract", folder, tmp_path / "store", *EXTRACT, "--cluster")
    with Processes(tmp_path / "scheduler.json", security=options) as safe:
        safe.worker("--no-nanny")
        address = safe.address
        assert address.startswith("tls://")
        without = pcam(*command, address)
        with dask.config.set({name: str(file) for name, file in own.items()}):
            safe.wait_for(1)
            result = pcam(*command, address)
    assert without.code == 1, without.err
    assert "Traceback" not in without.err
    assert f"error: no Dask scheduler answers at {address} (" in without.err
    assert result.code == 0, result.err
    assert files_of(tmp_path / "store") == files_of(expected / "store")


def certified(folder: Path) -> tuple[Path, Path]:
    """The files of a certificate that signs itself, and of its key."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pcam tests")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    return folder / "certificate.pem", folder / "key.pem"


def refused(result: Result, out: Path) -> str:
    """The sentence of a command that was refused before it has written anything."""
    assert result.code == 2, result.err
    assert not out.exists()
    assert "Traceback" not in result.err
    return result.err.rstrip("\n").rpartition("\n")[2]


@pytest.mark.parametrize(
    ("preload", "says"),
    [
        # Dask until 2025.1 reads the version from the module, so that an earlier check notices.
        (
            OTHER_VERSION,
            r"cannot take part: it has pcam 0\.0\.1, and the client has|has pcam_features 0\.0\.1 and",
        ),
        (NO_PCAM, "No module named"),
    ],
    ids=["other version", "no pcam"],
)
def test_mechanics_a_worker_without_the_same_pcam_is_named(
    preload: str, says: str, pcam: Run, there: Processes, folder: Path, tmp_path: Path
) -> None:
    worker = there.worker("--no-nanny", preload=preload)
    there.wait_for(3)
    try:
        result = pcam("extract", folder, tmp_path / "s", *EXTRACT, "--cluster", there.file)
    finally:
        end(worker)
        there.wait_for(2)
    sentence = refused(result, tmp_path / "s")
    assert sentence.startswith("error: worker tcp://")
    assert re.search(says, sentence), sentence
    assert re.search("the same (versions of )?pcam", sentence), sentence


@pytest.fixture
def mounting() -> None:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a disk that only some processes see needs root on Linux, and unshare")
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted here")


def test_mechanics_a_worker_that_does_not_see_the_source_is_named(
    mounting: None, pcam: Run, there: Processes, folder: Path, tmp_path: Path
) -> None:
    hide = f"mount -t tmpfs tmpfs '{folder}' && exec \"$@\""
    worker = there.worker("--no-nanny", before=("unshare", "--mount", "sh", "-c", hide, "sh"))
    there.wait_for(3)
    try:
        result = pcam("extract", folder, tmp_path / "s", *EXTRACT, "--cluster", there.file)
    finally:
        end(worker)
        there.wait_for(2)
    sentence = refused(result, tmp_path / "s")
    assert sentence.startswith("error: worker tcp://")
    assert "cannot take part: " in sentence
    assert str(folder) in sentence
    assert "every worker needs the same pcam, and the source at the same path." in sentence


def test_mechanics_a_full_disk_is_one_sentence_and_the_next_run_goes_on(
    mounting: None, pcam: Run, there: Processes, folder: Path, expected: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    assert not mount(disk, 200_000).returncode
    try:
        command = ("extract", folder, disk / "store", *EXTRACT, "--cluster", there.file)
        result = pcam(*command)
        assert result.code == 1, result.err
        assert "Traceback" not in result.err
        # The folder that is named is that of the first file that does not fit.
        said = result.err.splitlines()[-1]
        assert said.startswith(f"error: the disk of {disk / 'store'}")
        assert " is full" in said
        made, whole = files_of(disk / "store"), files_of(expected / "store")
        named = [name for name in made if name != MANIFEST and not name.endswith(TEMPORARY)]
        assert all(made[name] == whole[name] for name in named)
        assert not mount(disk, 1 << 26, again=True).returncode
        again = pcam(*command)
        assert again.code == 0, again.err
        assert files_of(disk / "store") == files_of(expected / "store")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("options", "pause", "says"),
    [
        # Dask until 2025.1 forgets the worker before it says that it died.
        (
            ("--memory-limit", "200MB"),
            "0.8",
            "died while it got ready; its log says why|the cluster has no workers left",
        ),
        (("--no-nanny",), "0.0001", "Dask has paused all workers of the cluster"),
    ],
    ids=["killed", "paused"],
)
def test_mechanics_a_worker_without_enough_memory_is_one_sentence(
    options: tuple[str, ...],
    pause: str,
    says: str,
    pcam: Run,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The libraries take more than 200 MB, and more than a ten-thousandth of the machine's memory."""
    with Processes(tmp_path / "scheduler.json") as small, monkeypatch.context() as patch:
        patch.setenv("DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE", pause)
        small.worker(*options)
        small.wait_for(1)
        patch.setattr(cluster, "PATIENCE", 3.0)
        result = pcam("extract", folder, tmp_path / "s", *EXTRACT, "--cluster", small.file)
    assert result.code == 1, result.err
    assert "Traceback" not in result.err
    sentence = result.err.rstrip("\n").rpartition("\n")[2]
    assert sentence.startswith("error: ")
    assert re.search(says, sentence), sentence
    assert "memory" in sentence
    assert not list((tmp_path / "s").rglob("*.parquet"))
