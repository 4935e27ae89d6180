"""A sum tells every change of a file or a manifest, and nothing is read that does not have its sum."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pcam_features.errors import InputError
from pcam_features.storage import costs
from pcam_features.storage.fields import Fields
from pcam_features.storage.sums import (
    FileSum,
    check_seal,
    check_sum,
    files_from,
    read_listed,
    read_verified,
    sealed,
    write_bytes,
    write_sealed,
)

CONTENT = {"version": 2, "names": ["a", "b"], "nested": {"x": 0.1, "y": -1e-300, "ü": None}}


def test_oracle_the_sum_is_that_of_b2sum(tmp_path: Path) -> None:
    if shutil.which("b2sum") is None:
        pytest.skip("no b2sum on the PATH")
    file = tmp_path / "file"
    known = write_bytes(file, random.Random(0).randbytes(3_000_001))
    words = ["b2sum", "-l", "256", str(file)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said.split()[0] == known.digest
    assert known.size == 3_000_001
    assert FileSum.of_file(file) == known


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.write_bytes(b"patch!"), "it has 6 bytes instead of 5"),
        (lambda file: file.write_bytes(b"petch"), "it does not have its sum"),
        (lambda file: file.unlink(), "it is missing"),
        (lambda file: (file.unlink(), file.mkdir()), "it is not a regular file"),
        (lambda file: (file.unlink(), os.mkfifo(file)), "it is not a regular file"),
    ],
)
def test_mechanics_a_file_without_its_sum_is_not_read(
    change: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    known = write_bytes(file, b"patch")
    assert read_verified(file, known) == b"patch"
    check_sum(file, known)
    change(file)
    for read in (read_verified, check_sum):
        with pytest.raises(ValueError, match=f"^{reason}$"):
            read(file, known)


@pytest.mark.parametrize("text", ["", "0" * 64, f"{'0' * 64} -1", f"{'g' * 64} 1", f"{'0' * 64} 1\n"])
def test_mechanics_what_is_no_sum_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a sum and a size"):
        FileSum.parse(text)


def test_invariant_every_flipped_bit_of_a_manifest_is_noticed(tmp_path: Path) -> None:
    """Or changes nothing but white space."""
    write_sealed(tmp_path / "m.json", CONTENT)
    text = (tmp_path / "m.json").read_bytes()
    noticed = 0
    for place in range(len(text)):
        for bit in range(8):
            flipped = text[:place] + bytes([text[place] ^ 1 << bit]) + text[place + 1 :]
            try:
                content = json.loads(flipped)
                check_seal(content)
            except (ValueError, AttributeError):  # no JSON, no UTF-8, no object, or another sum
                noticed += 1
                continue
            assert content == sealed(CONTENT)
            assert list(content) == list(sealed(CONTENT))
    assert noticed > 7 * len(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("sum"),
        lambda content: content.update(sum=None),
        lambda content: content.update(more=1),
        lambda content: content["nested"].update(x=0.1 + 1e-17 + 1e-16),
        lambda content: content["names"].reverse(),
        lambda content: content.update(version=content.pop("version")),  # another order of entries
        lambda content: content.update(version=float("inf")),
    ],
)
def test_mechanics_a_changed_manifest_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(json.dumps(sealed(CONTENT)))
    check_seal(content)
    change(content)
    with pytest.raises(ValueError, match=r"does not have its sum|not JSON compliant"):
        check_seal(content)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "a\nb"])
def test_mechanics_listed_files_are_in_the_folder(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not in the folder|has an entry"):
        files_from(Fields({"files": {name: str(FileSum.of(b""))}}))


def test_mechanics_a_listed_file_is_read_by_its_sum(tmp_path: Path) -> None:
    known = write_bytes(tmp_path / "folds.parquet", b"folds")
    write_sealed(tmp_path / "manifest.json", {"files": {"folds.parquet": str(known)}})
    assert read_listed(tmp_path, "folds.parquet") == b"folds"
    with pytest.raises(ValueError, match="does not list it"):
        read_listed(tmp_path, "other")
    (tmp_path / "folds.parquet").write_bytes(b"fools")
    with pytest.raises(ValueError, match="does not have its sum"):
        read_listed(tmp_path, "folds.parquet")


def test_mechanics_damaged_costs_of_a_model_are_refused(tmp_path: Path) -> None:
    costs.write_sum(tmp_path, costs.Cost(parameters=7, train_device="cpu"))
    file = tmp_path / costs.FILE
    assert costs.read(file) == costs.Cost(parameters=7, train_device="cpu")
    file.write_text(file.read_text().replace('"parameters": 7', '"parameters": 8'))
    with pytest.raises(InputError, match=r"is damaged .* remove it, so that costs are unknown"):
        costs.read(file)
    file.unlink()
    assert costs.read(file) == costs.Cost()


def test_mechanics_damaged_timings_of_a_store_are_unknown(tmp_path: Path) -> None:
    costs.record_measuring(tmp_path, ["color"], 100, 2.0)
    assert costs.measuring_seconds(tmp_path, ["color"]) == 0.02
    file = tmp_path / costs.MEASURED
    file.write_text(file.read_text().replace("2.0", "9.0"))
    assert costs.measuring_seconds(tmp_path, ["color"]) is None
