"""A folder is replaced by another whole one, whatever a killed process has left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pcam_features.errors import InputError, PcamError
from pcam_features.storage import folders
from pcam_features.storage.files import TEMPORARY, write_text
from pcam_features.storage.folders import copy_folder, exchange, replaced, whole_folder
from pcam_features.storage.resumable import PLAN, PLAN_KEY, in_the_making, unfinished

NAMES = {"what": "thing", "mark": "mark.json", "key": "thing_version"}


def thing(path: Path, text: str) -> None:
    path.mkdir(parents=True)
    (path / "mark.json").write_text(json.dumps({"thing_version": 1, "text": text}))


def text_of(path: Path) -> str:
    return str(json.loads((path / "mark.json").read_text())["text"])


def test_mechanics_two_folders_exchange_their_names(tmp_path: Path) -> None:
    thing(tmp_path / "a", "one")
    thing(tmp_path / "b", "two")
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system cannot exchange names in one step")
    assert (text_of(tmp_path / "a"), text_of(tmp_path / "b")) == ("two", "one")
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "missing")


@pytest.mark.parametrize("can", [True, False])
def test_invariant_an_old_folder_stays_until_the_new_is_whole(
    can: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can:
        monkeypatch.setattr(folders, "exchange", lambda one, other: False)
    path = tmp_path / "thing"
    thing(path, "old")
    with pytest.raises(RuntimeError), whole_folder(path, overwrite=True, **NAMES):
        raise RuntimeError
    assert text_of(path) == "old"
    with whole_folder(path, overwrite=True, **NAMES) as made:
        assert text_of(path) == "old"
        write_text(made / "mark.json", '{"thing_version": 1, "text": "new"}')
    assert text_of(path) == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thing"]


def test_invariant_a_replaced_folder_gets_its_name_again(tmp_path: Path) -> None:
    """As after a kill between two renamings, where names cannot be exchanged."""
    path = tmp_path / "thing"
    thing(replaced(path), "old")
    with (
        pytest.raises(InputError, match="exists already"),
        whole_folder(path, overwrite=False, **NAMES),
    ):
        pass
    assert text_of(path) == "old"
    thing(replaced(path), "older")
    with whole_folder(path, overwrite=True, **NAMES) as made:
        write_text(made / "mark.json", '{"thing_version": 1, "text": "new"}')
    assert [entry.name for entry in tmp_path.iterdir()] == ["thing"]


def test_invariant_only_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    (tmp_path / f"thing.77{TEMPORARY}").mkdir()
    (tmp_path / f"thing.x{TEMPORARY}").mkdir()  # not ours
    held = tmp_path / f"thing.78{TEMPORARY}"
    held.mkdir()
    script = (
        "import sys, time, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire();"
        "print('locked', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(held / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with whole_folder(path, overwrite=False, **NAMES):
            pass
        names = {entry.name for entry in tmp_path.iterdir()}
        other.kill()
    assert names == {"thing", held.name, f"thing.x{TEMPORARY}"}


def test_mechanics_temporary_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / f"p.csv.77{TEMPORARY}").write_text("half")
    (tmp_path / f"q.csv.77{TEMPORARY}").write_text("of another")
    write_text(tmp_path / "p.csv", "whole")
    assert {entry.name for entry in tmp_path.iterdir()} == {"p.csv", f"q.csv.77{TEMPORARY}"}


def finished_but_untidy(path: Path, *, swapped: bool) -> None:
    """What a process leaves that is killed after its folder got its name."""
    thing(path, "new")
    (path / PLAN).write_text(json.dumps({PLAN_KEY: 1}))
    (path / "steps").mkdir()
    (path / "lock").touch()
    if swapped:
        thing(unfinished(path), "old")


@pytest.mark.parametrize("swapped", [True, False])
def test_invariant_the_next_run_tidies_up(swapped: bool, tmp_path: Path) -> None:
    path = tmp_path / "thing"
    finished_but_untidy(path, swapped=swapped)
    plan = {PLAN_KEY: 2}
    with (
        pytest.raises(InputError, match="exists already"),
        in_the_making(path, plan, overwrite=False, **NAMES),
    ):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thing"]
    assert [entry.name for entry in path.iterdir()] == ["mark.json"]
    with in_the_making(path, plan, overwrite=True, **NAMES) as made:
        write_text(made / "mark.json", '{"thing_version": 1, "text": "newer"}')
    assert text_of(path) == "newer"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thing"]


def test_invariant_what_cannot_be_removed_is_left_to_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network's disk, where another program has a file open."""
    path, plan = tmp_path / "thing", {PLAN_KEY: 1}
    thing(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(folders.shutil, "rmtree", lambda folder, ignore_errors: None)
        with in_the_making(path, plan, overwrite=True, **NAMES) as made:
            write_text(made / "mark.json", '{"thing_version": 1, "text": "new"}')
    assert text_of(path) == "new"
    with in_the_making(path, plan, overwrite=True, **NAMES) as made:
        assert not (made / "mark.json").exists()
        write_text(made / "mark.json", '{"thing_version": 1, "text": "newer"}')
    assert text_of(path) == "newer"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thing"]


def test_regression_what_a_killed_worker_left_of_a_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    with in_the_making(path, {PLAN_KEY: 1}, overwrite=False, **NAMES) as made:
        write_text(made / "mark.json", '{"thing_version": 1, "text": "new"}')
        (made / f"half.npy.1.2{TEMPORARY}").touch()
    assert not list(path.glob(f"*{TEMPORARY}"))


def test_invariant_an_unfinished_folder_of_its_own_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    finished_but_untidy(path, swapped=False)
    unfinished(path).mkdir()
    (unfinished(path) / PLAN).write_text(json.dumps({PLAN_KEY: 2}))
    (unfinished(path) / "kept").touch()
    with in_the_making(path, {PLAN_KEY: 2}, overwrite=True, **NAMES) as made:
        assert (made / "kept").exists()


def test_mechanics_a_folder_under_work_is_not_tidied(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    finished_but_untidy(path, swapped=True)
    with (
        folders.one_process(path, "working"),
        pytest.raises(PcamError, match="another process"),
        in_the_making(path, {PLAN_KEY: 2}, overwrite=True, **NAMES),
    ):
        pass
    assert text_of(unfinished(path)) == "old"


def test_invariant_a_linked_unfinished_folder_is_refused(tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "thing"
    other.mkdir()
    (other / PLAN).write_text(json.dumps({PLAN_KEY: 1}))
    (other / "thesis.txt").touch()
    unfinished(path).symlink_to(other)
    with (
        pytest.raises(InputError, match="not created by pcam as an unfinished thing"),
        in_the_making(path, {PLAN_KEY: 2}, overwrite=True, **NAMES),
    ):
        pass
    assert (other / "thesis.txt").exists()


def test_mechanics_a_copied_folder_has_the_files_and_not_the_lock(tmp_path: Path) -> None:
    thing(tmp_path / "a", "one")
    (tmp_path / "a" / "lock").touch()
    copy_folder(tmp_path / "a", tmp_path / "b")
    assert [entry.name for entry in (tmp_path / "b").iterdir()] == ["mark.json"]
    assert os.path.samefile(tmp_path / "a" / "mark.json", tmp_path / "b" / "mark.json")
    write_text(tmp_path / "b" / "mark.json", '{"text": "new"}', tmp_path / "b")
    assert text_of(tmp_path / "a") == "one"
