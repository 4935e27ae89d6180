"""A store's manifest is read into records once, and a store shows what it holds as tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from signed import manifest_of, seal

from pcam_features.constants import Fitting
from pcam_features.encoders.options import EncoderFacts
from pcam_features.errors import InputError
from pcam_features.families.registry import chosen
from pcam_features.sources.detect import open_source
from pcam_features.sources.fitting import Fit
from pcam_features.storage.sums import sealed
from pcam_features.store.extending import check_source, plan
from pcam_features.store.manifest import FamilyRecord, SourceRecord, StoreManifest, write_manifest
from pcam_features.store.store import open_store


def test_invariant_a_manifest_is_written_as_it_was_read(store_folder: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path, open_store(store_folder).manifest)
    assert (tmp_path / "manifest.json").read_bytes() == (store_folder / "manifest.json").read_bytes()


def test_invariant_what_a_source_was_fitted_by_and_encoders_are_kept(store_folder: Path) -> None:
    known = open_store(store_folder).manifest
    facts = EncoderFacts("net", "0" * 64, 96, 4, "f32", "openvino", depths=("head",))
    encoder = facts.to_dict()
    fit = Fit(Fitting.resize, 0.5, 224, 224).to_dict()
    extended = replace(
        known,
        source=replace(known.source, fit=fit, reading={"exclude": ("odd.csv",), "positive": "tumor"}),
        families=known.families | {"net_96px": FamilyRecord(1, ("net_96px__a",), encoder)},
    )
    again = StoreManifest.from_dict(json.loads(json.dumps(sealed(extended.to_dict()))), store_folder)
    assert again == extended
    assert again.source.to_dict() == json.loads(json.dumps(extended.source.to_dict()))
    assert again.families["net_96px"].is_embedding
    assert not again.families["color"].is_embedding
    assert "fit" not in known.to_dict()["source"]


def test_mechanics_another_fit_is_refused_with_a_sentence_on_both(tmp_path: Path) -> None:
    plain = SourceRecord("images", "data", "protocol")
    fit = {"how": "tile", "mpp": None, "width": 224, "height": 200}
    with pytest.raises(InputError) as raised:
        check_source(tmp_path, plain, replace(plain, fit=fit))
    assert (
        "(before: patches are 96×96 pixels; now: patches of 224×200 pixels are cut into 9 tiles of "
        "96×96; features are the mean over tiles)"
    ) in str(raised.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("source", "kind"), None),
        (("source", "path"), 3),
        (("source", "fit"), []),
        (("families", "color", "version"), "1"),
        (("families", "color", "version"), True),
        (("splits", "train", "rows"), 0),
        (("splits", "train", "rows"), 1.0),
        (("splits", "train", "rows"), 1 << 60),
        (("splits", "train", "labeled"), 1),
        (("splits", "train", "fingerprint"), "x"),
        (("splits", "train", "fingerprint", "slides"), None),
        (("splits", "train", "families", "color", "complete"), "yes"),
        (("splits", "train", "families", "color", "devices"), "cpu"),
        (("splits", "train", "families", "unknown"), {"devices": [], "complete": False, "parts": []}),
        (("splits", "train", "patches"), "x"),
        (("splits", "train", "families", "color", "parts"), [None, None]),
        (("splits", "train", "families", "color", "parts"), ["0" * 64]),
        (("splits", ".."), {}),
        (("splits",), []),
        (("splits", "train", "families", "color", "complete"), None),
        (("pcam_version",), 1),
    ],
)
def test_mechanics_a_damaged_manifest_is_refused_where_it_is_read(
    place: tuple[str, ...], value: object, store_folder: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    manifest = manifest_of(store)
    entry = manifest
    for key in place[:-1]:
        entry = entry[key]
    entry[place[-1]] = value
    seal(store, manifest)
    with pytest.raises(InputError, match=r"manifest\.json is damaged \(") as refused:
        open_store(store)
    assert place[-1] in str(refused.value)


def test_invariant_planning_changes_no_record(store_folder: Path, synthetic_folder: Path) -> None:
    source, _ = open_source(str(synthetic_folder))
    before = open_store(store_folder).manifest
    text = json.dumps(before.to_dict())
    planned = plan(store_folder, source, source.only(None), chosen("color"), "cuda")
    assert planned == before  # all parts are there: no device takes part
    assert json.dumps(before.to_dict()) == text


def test_mechanics_a_store_of_otherwise_fitted_patches_is_not_extended(
    store_folder: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    manifest = manifest_of(store)
    manifest["source"]["fit"] = {"how": "resize", "mpp": None, "width": 50, "height": 50}
    seal(store, manifest)
    source, _ = open_source(str(synthetic_folder))
    assert SourceRecord.of(source).fit is None
    with pytest.raises(
        InputError, match="of 50×50 pixels are resized to 96×96; now: patches are 96×96 pixels"
    ):
        plan(store, source, source.only(None), chosen("color"), "cpu")


def test_oracle_a_frame_is_pandas_own_reading_of_the_files(store_folder: Path) -> None:
    frame = open_store(store_folder).frame("train", ["lbp", "color"])
    tables = [
        pd.read_parquet(store_folder / "train" / name).set_index("id")
        for name in ("patches", "lbp", "color")
    ]
    expected = pd.concat(tables, axis=1)
    assert frame.columns.tolist() == expected.columns.tolist()
    assert frame.index.name == "id"
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False, check_exact=True)
    assert set(frame.dtypes[2:]) == {np.dtype(np.float32)}


def test_mechanics_a_frame_of_all_families_and_of_unknown_ones(store_folder: Path) -> None:
    store = open_store(store_folder)
    frame = store.frame("test")
    widths = [len(store.manifest.families[name].columns) for name in store.families("test")]
    assert frame.shape == (store.manifest.splits["test"].rows, 2 + sum(widths))
    with pytest.raises(InputError, match="no finished colour features"):
        store.frame("test", ["colour"])
    with pytest.raises(InputError, match="no split 'tests'"):
        store.frame("tests")
    assert store.frame("test", []).columns.tolist() == ["label", "slide"]


def test_mechanics_a_store_shows_what_it_holds(store_folder: Path) -> None:
    store = open_store(store_folder)
    table = ElementTree.fromstring(store._repr_html_())
    cells = [[cell.text or "" for cell in row] for row in table.iter("tr")]
    assert [row[0] for row in cells] == ["split", *store.splits]
    assert [row[1] for row in cells[1:]] == [f"{one.rows:,}" for one in store.manifest.splits.values()]
    columns = len(store.manifest.families["color"].columns)
    assert f"color ({columns})" in cells[1][2]
    assert "incomplete" not in repr(store)
    assert f"color ({columns})" in repr(store)
    hostile = replace(store, path=Path("<script>"))
    assert "<script" not in hostile._repr_html_()


def test_regression_extract_says_how_one_row_per_patch_is_read(
    pcam: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "store"
    done = pcam("extract", "synthetic:40:4:0", path, "--families", "color,nuclei", "--split", "train")
    assert done.code == 0
    said = next(line for line in done.err.splitlines() if line.startswith("one row per patch: "))
    assert f"open_store({str(path)!r}).frame('train')" in said
    assert len(open_store(path).frame("train")) == 40
    assert len(pd.read_parquet(said.rsplit("such as ")[1])) == 40
