"""What a machine does to a command ends in one sentence and an exit code, never in a traceback."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pcam_features.cli.failures import sentence_of
from pcam_features.errors import PcamError
from pcam_features.execution.memory import lacks_memory
from pcam_features.storage.disks import is_full
from pcam_features.storage.files import whole_file
from pcam_features.storage.folders import one_process

PROGRAM = (sys.executable, "-m", "pcam_features")
STOPPED = "stopped; run the same command again"
PACKAGES = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


def ended(
    *words: object, more: Mapping[str, str] | None = None, shell: str = ""
) -> tuple[int, bytes, str]:
    """Exit code, output and errors of a command in a process of its own; `shell` may redirect it."""
    command = [*PROGRAM, *map(str, words)]
    if shell:
        command = ["bash", "-c", shell, "bash", *command]
    done = subprocess.run(
        command, env=os.environ | (more or {}), capture_output=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def one_error(errors: str) -> str:
    """The only line that an error is told in."""
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    return lines[0]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1:strict", "ascii:strict"])
@pytest.mark.parametrize("command", ["features", "model", "compare"])
def test_mechanics_what_cannot_be_encoded_is_replaced(
    command: str, encoding: str, model_folder: Path, tmp_path: Path
) -> None:
    words: list[object] = [command]
    if command == "features":
        words = [command, "glcm"]
    elif command == "model":
        words = [command, model_folder]
    else:
        for name, value in (("truth", lambda k: k % 2), ("scores", lambda k: k * 37 % 40 / 40)):
            rows = [f"p{k},{value(k)}" for k in range(40)]
            (tmp_path / f"{name}.csv").write_text("\n".join(["id,label", *rows]))
        words = [command, tmp_path / "truth.csv", f"Größe→={tmp_path / 'scores.csv'}"]
    code, out, errors = ended(*words, more={"PYTHONIOENCODING": encoding})
    assert "Traceback" not in errors
    assert code == 0, errors
    assert out.decode(encoding.partition(":")[0])


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ('"$@" >&-', 0),
        ('"$@" 2>&-', 0),
        ('"$@" <&- >&- 2>&-', 0),
        ('"$@" >/dev/full', 1),
        ('"$@" | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}', None),
    ],
)
def test_mechanics_closed_and_full_streams(shell: str, code: int | None, model_folder: Path) -> None:
    """A pipe that is closed at once may end a command with 1 or, if all fitted into it, with 0."""
    if "/dev/full" in shell and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    ending, _, errors = ended("model", model_folder, shell=shell)
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert ending in ((0, 1) if code is None else (code,)), errors
    if code == 1:
        assert "has no room left" in one_error(errors)


def test_mechanics_closed_streams_do_not_become_the_file_that_is_written(
    model_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    """The first file that is opened gets the number of a closed stream."""
    words = ("predict", model_folder, store_folder)
    assert ended(*words, tmp_path / "open.csv")[0] == 0
    assert ended(*words, tmp_path / "closed.csv", shell='"$@" <&- >&- 2>&-')[0] == 0
    assert (tmp_path / "closed.csv").read_bytes() == (tmp_path / "open.csv").read_bytes()


def test_mechanics_python_without_docstrings(
    model_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    """XGBoost edits its docstrings, and what features prints is a docstring."""
    bare = {"PYTHONOPTIMIZE": "2"}
    words = ("predict", model_folder, store_folder)
    assert ended(*words, tmp_path / "plain.csv")[0] == 0
    code, _, errors = ended(*words, tmp_path / "bare.csv", more=bare)
    assert code == 0, errors
    assert (tmp_path / "bare.csv").read_bytes() == (tmp_path / "plain.csv").read_bytes()
    for command in (("features", "glcm"), ("features", "cnn"), ("fit", "--help")):
        assert ended(*command, more=bare) == ended(*command)


@pytest.mark.parametrize("mebibytes", [250, 500, 1100])
def test_mechanics_little_memory(
    mebibytes: int, model_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    if sys.platform != "linux":
        pytest.skip("ulimit -v limits memory on Linux alone")
    limited = f'ulimit -v {mebibytes << 10}; exec "$@"'
    code, _, errors = ended("predict", model_folder, store_folder, tmp_path / "out.csv", shell=limited)
    assert code == 1
    assert f"too little memory for this command (ulimit -v is {mebibytes << 10} KiB)" in one_error(
        errors
    )
    assert list(tmp_path.iterdir()) == []


def test_mechanics_ctrl_c_while_modules_are_imported(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    )
    code, out, errors = ended("--help", more={"PYTHONPATH": f"{tmp_path}{os.pathsep}{PACKAGES}"})
    assert (code, out) == (130, b"")
    assert errors.strip() == STOPPED


def test_mechanics_ctrl_c_in_convert(synthetic_folder: Path, tmp_path: Path) -> None:
    """At whatever moment: the line, the exit code, and no folder that looks whole."""
    out = tmp_path / "out"
    words = ("convert", synthetic_folder, out, "--to", "folder")
    for seconds in (0.8, 1.6, 2.4):
        running = subprocess.Popen(
            [*PROGRAM, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        time.sleep(seconds)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
        if running.returncode == 0:
            shutil.rmtree(out)
            continue  # it was faster
        # Python ends itself by the signal if a library has seen it; shells call both 130.
        assert running.returncode in (130, -signal.SIGINT), errors
        assert errors.strip().splitlines()[-1] == STOPPED
        assert "Traceback" not in errors
        assert list(tmp_path.iterdir()) == []


FULL = (
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    OSError("204568 requested and 15328 written"),
    sqlite3.OperationalError("database or disk is full"),
    RuntimeError("write failed: No space left on device"),
)


@pytest.mark.parametrize("error", FULL, ids=str)
def test_mechanics_a_full_disk_is_named_whoever_writes(error: Exception, tmp_path: Path) -> None:
    assert is_full(error)
    named = rf"the disk of {tmp_path} is full \([0-9,.]+ MiB free\), .* run the same command again\.$"
    with pytest.raises(PcamError, match=named), whole_file(tmp_path / "a.npy"):
        raise error
    with pytest.raises(PcamError, match=named), one_process(tmp_path, "testing"):
        raise error
    assert not list(tmp_path.glob("a.npy*"))
    assert sentence_of(error)


def test_mechanics_a_disk_that_is_full_ends_a_fit_in_a_sentence(
    store_folder: Path, tmp_path: Path
) -> None:
    """A disk in memory of 300 KiB, if this user may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("making a disk in memory takes the rights of root")
    try:
        code, _, errors = ended("fit", store_folder, disk / "model", "--families", "lbp", "--folds", 3)
        assert code == 1
        assert f"the disk of {disk}" in one_error(errors)
        assert not (disk / "model").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
        ImportError("libxgboost.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=repr,
)
def test_mechanics_little_memory_is_told_whoever_lacks_it(error: Exception) -> None:
    assert lacks_memory(error)
    assert "too little memory" in str(sentence_of(error))
    outer = ValueError("cannot be loaded")
    outer.__cause__ = error
    assert lacks_memory(outer)


def test_mechanics_a_fault_of_pcam_keeps_its_traceback() -> None:
    assert sentence_of(ValueError("operands could not be broadcast")) is None
    assert sentence_of(KeyError("memory")) is None


WHERE = {
    "a deleted folder": ('mkdir gone; cd gone; rmdir ../gone; "$@"', "out", 1, "folder was deleted"),
    "a cache in a file": ('touch f; PCAM_CACHE_DIR=$PWD/f/c "$@"', "out", 1, "set the environment"),
    "a long name": ('"$@"', "a" * 300, 2, "File name too long; choose a shorter name"),
    "large files": ('ulimit -f 1; "$@"', "out", 1, "(ulimit -f limits the size of files)"),
}


@pytest.mark.parametrize("what", WHERE)
def test_regression_what_the_system_refuses_is_told_with_a_next_step(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell, out, code, words = WHERE[what]
    monkeypatch.chdir(tmp_path)
    ending, _, errors = ended("extract", "synthetic:12", out, "--families", "color", shell=shell)
    assert (ending, words in one_error(errors)) == (code, True), errors


def test_regression_parquet_is_converted_to_names_of_any_bytes(tmp_path: Path) -> None:
    out = os.fsencode(tmp_path) + b"/\xff"
    code, _, errors = ended("convert", "synthetic:12", os.fsdecode(out), "--to", "parquet")
    assert code == 0, errors
    assert os.path.isdir(out + b"/data")


def test_regression_outputs_replace_no_inputs(
    model_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    truth = tmp_path / "truth.csv"
    truth.write_text("id,label\n" + "".join(f"p{k},{k % 2}\n" for k in range(40)))
    scores = tmp_path / "scores.csv"
    scores.write_text("id,label\n" + "".join(f"p{k},{k * 37 % 40 / 40}\n" for k in range(40)))
    for words, out in (
        (("predict", model, store_folder, model / "manifest.json"), model / "manifest.json"),
        (("submit", model, store_folder, truth), truth),
        (("compare", truth, scores, "--report", scores), scores),
        (("explain", model, store_folder, "--id", "x", "--out", truth), truth),
    ):
        before = out.read_bytes()
        code, _, errors = ended(*words)
        assert (code, "was not written by this command" in one_error(errors)) == (2, True), errors
        assert out.read_bytes() == before
