"""A step of an unfinished model is taken only if it is the array that the fit would make."""

from __future__ import annotations

import io
import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pcam_features.learn.steps import Work
from pcam_features.storage.resumable import PLAN, STEPS

SHAPE, DTYPE = (40, 3), "<f4"
WANTED = np.arange(120, dtype=DTYPE).reshape(SHAPE)


def as_file(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=array.dtype == object)
    return stream.getvalue()


def with_one(number: float) -> np.ndarray:
    array = WANTED.copy()
    array[7, 1] = number
    return array


def declared(rows: str) -> bytes:
    return as_file(WANTED).replace(b"(40, 3), }" + b" " * len(rows), f"({rows}, 3), }}  ".encode(), 1)


DAMAGES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "cut": lambda: as_file(WANTED)[:-1],
    "longer": lambda: as_file(WANTED) + b"\0" * 4,
    "zeros": lambda: bytes(len(as_file(WANTED))),
    "other shape": lambda: as_file(WANTED.reshape(3, 40)),
    "one axis": lambda: as_file(WANTED.ravel()),
    "other type": lambda: as_file(WANTED.astype("<i4")),
    "wider type": lambda: as_file(WANTED.astype("<f8")),
    "objects": lambda: as_file(WANTED.astype(object)),
    "NaN": lambda: as_file(with_one(np.nan)),
    "infinity": lambda: as_file(with_one(np.inf)),
    "huge": lambda: declared("99999999"),
    "more than that": lambda: declared("9999999999"),
    "a zip": lambda: b"PK\x03\x04" + bytes(600),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_invariant_a_damaged_step_is_made_again(damage: str, tmp_path: Path) -> None:
    made = []

    def make() -> np.ndarray:
        made.append(1)
        return WANTED

    work, file = Work(tmp_path), tmp_path / STEPS / "step.npy"
    assert np.array_equal(work.array("step", make, SHAPE, DTYPE), WANTED)
    assert np.array_equal(work.array("step", make, SHAPE, DTYPE), WANTED)
    assert len(made) == 1
    whole = file.read_bytes()
    content = DAMAGES[damage]()
    assert content != whole
    file.write_bytes(content)
    tracemalloc.start()
    found = work.array("step", make, SHAPE, DTYPE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(found, WANTED)
    assert len(made) == 2
    assert file.read_bytes() == whole
    assert peak < 1 << 20, "memory was taken for what a file declares"


def test_mechanics_a_step_of_another_memory_order_is_kept(tmp_path: Path) -> None:
    made = []

    def make() -> np.ndarray:
        made.append(1)
        return np.asfortranarray(WANTED.astype(np.float64))

    work = Work(tmp_path)
    for _ in range(2):
        assert np.array_equal(work.array("step", make, SHAPE, DTYPE), WANTED)
    assert len(made) == 1


def test_invariant_a_step_of_another_plan_or_name_is_made_again(tmp_path: Path) -> None:
    """Its sum beside it is right."""
    works = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / PLAN).write_text(json.dumps({"seed": name}))
        works.append(Work(tmp_path / name))
    ours, theirs = works
    ours.keep("step", WANTED)
    assert ours.kept("step", SHAPE, DTYPE) is not None
    shutil.copytree(ours.folder / STEPS, theirs.folder / STEPS)
    assert theirs.kept("step", SHAPE, DTYPE) is None
    for file in (ours.folder / STEPS).iterdir():
        shutil.copy(file, file.with_name(file.name.replace("step", "next")))
    assert ours.kept("next", SHAPE, DTYPE) is None
    assert ours.kept("step", SHAPE, DTYPE) is not None
