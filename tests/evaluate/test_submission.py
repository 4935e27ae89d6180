"""Submissions whose sample names patches as people write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pcam_features.errors import InputError
from pcam_features.evaluate.submission import submit
from pcam_features.storage.costs import Cost

IDS = ["a", "b", "c"]
TUMOR = np.array([0.125, 0.25, 0.5])


def written(folder: Path, *names: str) -> dict[str, float]:
    """The submission for a sample of these ids."""
    sample = folder / "sample.csv"
    sample.write_text("id,label\n" + "".join(f"{name},0\n" for name in names))
    submit(folder / "s.csv", IDS, TUMOR, sample, Cost())
    table = pd.read_csv(folder / "s.csv", dtype={"id": str})
    return dict(zip(table["id"], table["label"], strict=True))


@pytest.mark.parametrize("form", ["{}", "{}.tif", "test/{}.TIF", "{}.png"])
def test_mechanics_ids_of_a_sample_may_be_file_names(form: str, tmp_path: Path) -> None:
    names = [form.format(one) for one in "cab"]
    assert list(written(tmp_path, *names).items()) == [
        (names[0], 0.5),
        (names[1], 0.125),
        (names[2], 0.25),
    ]


def test_mechanics_ids_and_file_names_may_be_mixed(tmp_path: Path) -> None:
    assert written(tmp_path, "a", "b.tif") == {"a": 0.125, "b.tif": 0.25}


@pytest.mark.parametrize("names", [("d.tif", "a.tif"), ("a.tif", "x/a.tif")])
def test_mechanics_ids_that_are_not_clear_are_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="that the features lack"):
        written(tmp_path, *names)
