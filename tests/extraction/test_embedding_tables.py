"""Tables of embeddings that somebody else made are read as they are, matched by ids, or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Result
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import pcam_features as pcam
from pcam_features.errors import InputError
from pcam_features.extraction.embedding_tables import open_table

WIDTH = 6
SOURCE = "synthetic:120:12"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Embeddings of all patches of SOURCE, by id, which tell something of the label."""
    rng = np.random.default_rng(0)
    tables = []
    for split in pcam.open_source(SOURCE).splits.values():
        noise = rng.normal(size=(len(split), WIDTH))
        noise[:, 0] += 1.5 * np.asarray(split.labels)
        tables.append(pd.DataFrame(noise, index=split.ids, columns=[f"f{k}" for k in range(WIDTH)]))
    return pd.concat(tables).rename_axis("id").astype(np.float32)


def as_parquet(frame: pd.DataFrame, file: Path) -> Path:
    frame.reset_index().to_parquet(file, index=False, row_group_size=40)
    return file


def as_lists(frame: pd.DataFrame, file: Path) -> Path:
    table = pa.table({"image_id": frame.index.tolist(), "embedding": frame.to_numpy().tolist()})
    pq.write_table(table, file)
    return file


def as_npz(frame: pd.DataFrame, file: Path) -> Path:
    np.savez(file, ids=frame.index.to_numpy(str), embeddings=frame.to_numpy(np.float64))
    return file


def as_packed(frame: pd.DataFrame, file: Path) -> Path:
    ids = frame.index.to_numpy(str).astype("S")
    np.savez_compressed(file, ids=ids, x=np.asfortranarray(frame.to_numpy()))
    return file


WRITERS = {
    "uni.parquet": as_parquet,
    "UNI-2.parquet": as_lists,
    "uni.npz": as_npz,
    "packed_1.npz": as_packed,
}


@pytest.mark.parametrize("file", WRITERS)
def test_parity_every_form_of_a_table_has_its_values(
    file: str, frame: pd.DataFrame, tmp_path: Path
) -> None:
    shuffled = frame.sample(frac=1, random_state=0)
    path = WRITERS[file](shuffled, tmp_path / file)
    table = open_table(str(path))
    assert table.name == {"UNI-2.parquet": "uni_2", "packed_1.npz": "packed_1"}.get(file, "uni")
    assert len(table.columns) == WIDTH
    np.testing.assert_array_equal(table.rows(list(frame.index)), frame.to_numpy())
    assert table.rows(list(frame.index)).dtype == np.float32
    assert open_table(f"other={path}").columns[0].startswith("other__")


def spoilt(frame: pd.DataFrame, **changes: object) -> pd.DataFrame:
    return frame.reset_index().assign(**changes)


REFUSED: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "NaN": (lambda f: spoilt(f, f3=[np.nan, *f["f3"][1:]]), "not finite in column f3 of"),
    "too large": (lambda f: spoilt(f.astype(float), f3=1e300), "not finite in column f3"),
    "twice": (lambda f: pd.concat([f, f[:1]]).reset_index(), "more than once"),
    "no ids": (lambda f: f.reset_index(drop=True), "has no column id"),
    "label": (lambda f: spoilt(f, Label=1), "no embeddings by their names, 'Label'"),
    "slide": (lambda f: spoilt(f, wsi_id=1), "no embeddings by their names, 'wsi_id'"),
    "text": (lambda f: spoilt(f, note="x"), "has 'note' of other kinds"),
    "flags": (lambda f: spoilt(f, flag=True), "has 'flag' of other kinds"),
    "lines": (lambda f: f.rename(columns={"f0": "a\nb"}).reset_index(), "on one line"),
    "lists": (
        lambda f: f.reset_index()[["id"]].assign(e=[[1.0]] + [[1.0, 2.0]] * (len(f) - 1)),
        "lists of different lengths",
    ),
    "empty": (lambda f: f[:0].reset_index(), "0 rows"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mechanics_a_table_that_is_none_is_refused(
    case: str, frame: pd.DataFrame, tmp_path: Path
) -> None:
    change, message = REFUSED[case]
    change(frame).to_parquet(tmp_path / "uni.parquet", index=False)
    with pytest.raises(InputError) as refusal:
        open_table(str(tmp_path / "uni.parquet"))
    assert message in str(refusal.value)


def test_mechanics_hostile_files_and_names_are_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    objects = tmp_path / "objects.npz"
    np.savez(objects, ids=np.array([{}], object), x=np.zeros((1, 2)))
    (tmp_path / "torn.parquet").write_bytes(as_parquet(frame, tmp_path / "u.parquet").read_bytes()[:-9])
    (tmp_path / "torn.npz").write_bytes(as_npz(frame, tmp_path / "u.npz").read_bytes()[:-90])
    np.savez(tmp_path / "three.npz", ids=["a"], x=np.zeros((1, 2)), y=np.zeros((1, 2)))
    np.savez(tmp_path / "short.npz", ids=["a"], x=np.zeros((2, 2)))
    good = tmp_path / "u.parquet"
    for word, message in {
        str(objects): "Python objects",
        str(tmp_path / "torn.parquet"): "cannot be read",
        str(tmp_path / "torn.npz"): "cannot be read",
        str(tmp_path / "three.npz"): "one of numbers",
        str(tmp_path / "short.npz"): "give one id for each",
        str(tmp_path / "none.npz"): "does not exist",
        f"color={good}": "is the name of something else",
        f"all={good}": "is the name of something else",
        f"steps={good}": "is the name of something else",
        f"../x={good}": "cannot name a family",
        f"resnet_96px={good}": "cannot name a family",
    }.items():
        with pytest.raises(InputError) as refusal:
            open_table(word)
        assert message in str(refusal.value), word


@pytest.fixture(scope="module")
def store(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a table as its only family."""
    folder = tmp_path_factory.mktemp("tables")
    file = as_parquet(frame, folder / "uni.parquet")
    pcam.extract(SOURCE, folder / "store", families=str(file), progress=None)
    return folder / "store"


def test_oracle_the_store_has_the_tables_values_by_id(store: Path, frame: pd.DataFrame) -> None:
    opened = pcam.open_store(store)
    for split in ("train", "test"):
        found = opened.frame(split)
        columns = [f"uni__f{k}" for k in range(WIDTH)]
        np.testing.assert_array_equal(found[columns], frame.loc[found.index])
    record = opened.manifest.splits["train"].families["uni"]
    import hashlib

    content = (store.parent / "uni.parquet").read_bytes()
    assert record.devices == (f"table of SHA-256 {hashlib.sha256(content).hexdigest()}",)
    assert opened.families("train") == ["uni"]


def test_mechanics_another_table_is_not_mixed_in(
    store: Path, frame: pd.DataFrame, tmp_path: Path
) -> None:
    shutil.copytree(store, tmp_path / "store")
    other = as_parquet(frame * 2, tmp_path / "uni.parquet")
    arguments = {"families": str(other), "progress": None}
    with pytest.raises(InputError, match="uni of split 'train' from another table"):
        pcam.extract(SOURCE, tmp_path / "store", **arguments)
    changed = pcam.extract(SOURCE, tmp_path / "store", **arguments, overwrite=True)
    np.testing.assert_array_equal(
        changed.frame("test")["uni__f1"], 2 * frame.loc[changed.frame("test").index, "f1"]
    )
    moved = Path(shutil.copy(store.parent / "uni.parquet", tmp_path / "moved.parquet"))
    pcam.extract(SOURCE, store, families=f"uni={moved}", progress=None)  # the same content


def test_mechanics_ids_are_matched_and_counted(frame: pd.DataFrame, tmp_path: Path) -> None:
    lines: list[str] = []
    lacking = as_parquet(frame[3:], tmp_path / "lacking.parquet")
    with pytest.raises(InputError, match="lacks the embeddings of 3 of 150 patches, the first"):
        pcam.extract(SOURCE, tmp_path / "store", families=str(lacking), progress=None)
    assert not (tmp_path / "store").exists()
    more = pd.concat([frame, frame[:2].set_axis(["x", "y"])])
    with_folders = more.set_axis([f"train/{patch}.png" for patch in more.index])
    file = as_npz(with_folders, tmp_path / "more.npz")
    made = pcam.extract(SOURCE, tmp_path / "store", families=str(file), progress=None, log=lines.append)
    np.testing.assert_array_equal(
        made.frame("train")["more__0002"], frame.loc[made.frame("train").index, "f2"]
    )
    assert any("matched without folders" in line for line in lines)
    plain = as_npz(more, tmp_path / "plain.npz")
    pcam.extract(SOURCE, tmp_path / "store", families=str(plain), progress=None, log=lines.append)
    assert any("2 rows of other patches are not used" in line for line in lines)


def test_mechanics_a_table_has_no_changed_copies(frame: pd.DataFrame, tmp_path: Path) -> None:
    file = as_parquet(frame, tmp_path / "uni.parquet")
    with pytest.raises(InputError, match="uni is read from one; use copies= 0"):
        pcam.extract(SOURCE, tmp_path / "store", families=str(file), copies=10, progress=None)
    pcam.extract(SOURCE, tmp_path / "store", families="color", copies=10, progress=None)
    lines: list[str] = []
    pcam.extract(SOURCE, tmp_path / "store", families=str(file), progress=None, log=lines.append)
    assert any(line.startswith("copies: none, because uni is read from a table") for line in lines)
    with pytest.raises(InputError, match=r"have no uni features.*copies=False"):
        pcam.fit(tmp_path / "store", tmp_path / "model", folds=3, threads=1, progress=None)


def test_oracle_a_model_of_a_table_predicts_as_well_as_scikit_learn(
    store: Path, frame: pd.DataFrame, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = pcam.fit(store, tmp_path / "model", folds=3, threads=1, progress=None)
    opened = pcam.open_store(store)
    train, test = opened.frame("train"), opened.patches("test")
    found = model.predict_split(opened, "test").to_series()
    linear = LogisticRegression().fit(frame.loc[train.index], train["label"])
    expected = linear.predict_proba(frame.loc[found.index])[:, 1]
    labels = pcam.open_source(SOURCE).splits["test"].labels
    assert test["id"].tolist() == list(found.index)
    assert roc_auc_score(labels, found) > roc_auc_score(labels, expected) - 0.1
    assert model.predict_split(opened, "test").cost.predict_patches_per_second is None
    with pytest.raises(InputError, match="embeddings from a table, which cannot be computed here"):
        model.predict_split(SOURCE, "test")
    run: Callable[..., Result] = request.getfixturevalue("pcam")
    done = run("explain", tmp_path / "model", store, "--id", found.index[0])
    assert done.code == 0, done.err
    other = pcam.extract("synthetic:40", tmp_path / "other", families="color", progress=None)
    with pytest.raises(InputError, match="families= uni=FILE"):
        model.predict_split(other, "test")
