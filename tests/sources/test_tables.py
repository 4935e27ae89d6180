"""Tables of labels as people write them: columns, separators, encodings, labels, places of images."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from layouts import IDS, LABELS, ROWS, kaggle_folder, opened, refused
from test_folders import labels_by_id, lay_out, read, unread

from pcam_features.errors import InputError
from pcam_features.sources.detect import open_source
from pcam_features.sources.reading import Reading
from pcam_features.storage import tables
from pcam_features.storage.tables import read_table

FILES = tuple(f"imgs/p{k}.png" for k in range(6))
EXPECTED = {f"p{k}": k % 2 for k in range(6)}


def table(root: Path, header: str, *, row: str = "{file},{label}", name: str = "t.csv") -> Path:
    """Images and a table of them; a row has `file`, `label`, `stem` and `k`."""
    lay_out(root, *FILES)
    lines = [
        row.format(file=file, label=k % 2, stem=Path(file).stem, k=k) for k, file in enumerate(FILES)
    ]
    (root / name).write_text("\n".join([header, *lines]) + "\n")
    return root / name


@pytest.mark.parametrize(
    "label", ["Label", "target", " label", "class", "Ground Truth", "is_tumor", "y"]
)
@pytest.mark.parametrize("path", ["path", "Filename", "image_path"])
def test_regression_labels_and_paths_have_many_names(path: str, label: str, tmp_path: Path) -> None:
    assert labels_by_id(opened(table(tmp_path, f"{path},{label}"))) == EXPECTED


def test_regression_a_table_without_labels_says_which_columns_it_has(tmp_path: Path) -> None:
    source = opened(table(tmp_path, "path,grade"))
    assert source.labels is None
    assert any("no label column among: path, grade" in note for note in source.notes)
    named = read(tmp_path / "t.csv", label_column="grade")
    assert labels_by_id(named) == EXPECTED
    with pytest.raises(InputError, match="no column of that name; its columns are: path, grade"):
        read(tmp_path / "t.csv", label_column="grad")


def test_mechanics_two_columns_that_may_be_labels_are_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path, "path,target,class", row="{file},{label},0")
    assert "target, class" in refused(path, "several columns that may be labels")
    assert labels_by_id(read(path, label_column="target")) == EXPECTED


def test_mechanics_columns_are_named_by_options(tmp_path: Path) -> None:
    path = table(tmp_path, "what,who,how", row="{file},own{k},{label}")
    refused(path, "no column path of image files; its columns are: what, who, how")
    source = read(path, path_column="what", id_column="who", label_column="how")
    assert labels_by_id(source) == {f"own{k}": k % 2 for k in range(6)}


@pytest.mark.parametrize(
    "words",
    [
        *(("0", "1"), ("0.0", "1.0"), ("False", "True"), ("normal", "tumor"), ("Negative", "POSITIVE")),
        *(("no", "yes"), ("class0", "class1"), ("non-tumor", "tumour"), (" 0", "1 ")),
    ],
)
def test_regression_labels_may_be_words_in_every_layout(words: tuple[str, str], tmp_path: Path) -> None:
    path = table(tmp_path / "m", "path,label")
    rows = [f"{file},{words[k % 2]}" for k, file in enumerate(FILES)]
    path.write_text("\n".join(["path,label", *rows]) + "\n")
    assert labels_by_id(opened(path)) == EXPECTED
    folder = kaggle_folder(tmp_path / "k")
    rows = [f"{i},{words[k]}" for i, k in zip(IDS, LABELS, strict=True)]
    (folder / "train_labels.csv").write_text("\n".join(["id,label", *rows]) + "\n")
    assert labels_by_id(opened(folder)) == dict(zip(IDS, LABELS.tolist(), strict=True))


def test_mechanics_a_class_that_is_not_understood_is_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label")
    words = ("normal", "tumor", "unsure")
    rows = [f"{file},{words[k % 3]}" for k, file in enumerate(FILES)]
    path.write_text("\n".join(["path,label", *rows]) + "\n")
    assert "--positive" in refused(path, "line 4: the label is 'unsure', not 0 or 1")
    assert labels_by_id(read(path, exclude=("unsure",))) == {"p0": 0, "p1": 1, "p3": 0, "p4": 1}
    assert unread(read(path, classes=("normal", "tumor"))) == {"class not asked for": ["p2", "p5"]}
    told = read(path, positive="tumor")
    assert "tumor: tumor; negative: normal, unsure" in told.notes
    assert labels_by_id(told)["p2"] == 0


def test_mechanics_a_table_may_be_labeled_in_part(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label")
    text = path.read_text().replace("p2.png,0", "p2.png,").replace("p3.png,1", "p3.png,-1")
    path.write_text(text)
    for asked in (False, True):
        source, sentence = open_source(str(path), reading=Reading(labeled_only=asked))
        assert set(labels_by_id(source)) == {"p0", "p1", "p4", "p5"}
        assert unread(source) == {"no label": ["p2", "p3"]}
        assert "NOT READ: 2 × no label (p2, p3)" in sentence
        assert [one.serious for one in source.unread] == [not asked]
        assert ("--labeled-only" in source.unread[0].says) is not asked


def test_mechanics_paths_of_another_machine_are_found_by_name(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label")
    text = path.read_text()
    for start in ("/home/somebody/data/", "C:\\data\\"):
        lines = [text.splitlines()[0], *(f"{start}{line}" for line in text.splitlines()[1:])]
        path.write_text("\n".join(lines) + "\n")
        assert labels_by_id(opened(path)) == EXPECTED
    path.write_text(f"path,label\n{__file__},1\n")  # it is on this machine
    refused(path, "leads out of")


def test_mechanics_a_file_listed_twice_is_told_so(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label")
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    refused(path, "is listed twice")


@pytest.mark.parametrize(("first", "clear"), [("00000", True), ("7", False)])
def test_mechanics_ids_that_lost_their_zeros(first: str, clear: bool, tmp_path: Path) -> None:
    names = [first, "00001", "00002", "00007"]
    lay_out(tmp_path, *(f"train/{name}.png" for name in names))
    rows = "".join(f"{int(name)},{k % 2}\n" for k, name in enumerate(names[:3]))
    (tmp_path / "train_labels.csv").write_text("id,label\n" + rows)
    source = opened(tmp_path)
    if clear:
        assert labels_by_id(source) == {"00000": 0, "00001": 1, "00002": 0}
        assert any("lack zeros" in note for note in source.notes)
    else:  # 7 is a file itself, and 7 and 00007 are one number
        assert labels_by_id(source) == {"7": 0}


def test_mechanics_files_of_a_table_that_are_missing_are_counted(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label")
    gone = tmp_path / FILES[0]
    gone.unlink()
    source, sentence = open_source(str(path))
    assert set(labels_by_id(source)) == {"p1", "p2", "p3", "p4", "p5"}
    assert "NOT READ: 1 × missing file" in sentence
    assert source.unread[0].serious
    for file in FILES[1:]:
        (tmp_path / file).unlink()
    assert str(gone) in refused(path, "missing file")


def packed(text: str) -> bytes:
    return gzip.compress(text.encode())


WRITTEN: dict[str, Callable[[str], bytes]] = {
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "Excel": lambda text: ("\ufeff" + text.replace("\n", "\r\n") + "\r\n").encode(),
    "spaces": lambda text: text.replace(",", ", ").encode(),
    "gzip": packed,
}


@pytest.mark.parametrize("how", WRITTEN)
def test_regression_tables_as_programs_write_them(how: str, tmp_path: Path) -> None:
    path = table(tmp_path / "m", "path,label")
    path.write_bytes(WRITTEN[how](path.read_text()))
    assert labels_by_id(opened(path)) == EXPECTED
    folder = kaggle_folder(tmp_path / "k")
    labels = folder / "train_labels.csv"
    labels.write_bytes(WRITTEN[how](labels.read_text()))
    assert labels_by_id(opened(folder)) == dict(zip(IDS, LABELS.tolist(), strict=True))


def test_regression_a_table_may_end_in_gz(tmp_path: Path) -> None:
    folder = kaggle_folder(tmp_path / "k")
    labels = folder / "train_labels.csv"
    (folder / "train_labels.csv.gz").write_bytes(packed(labels.read_text()))
    labels.unlink()
    (folder / "sample_submission.csv").unlink()
    source = opened(folder)
    assert source.kind == "kaggle"
    assert labels_by_id(source) == dict(zip(IDS, LABELS.tolist(), strict=True))
    path = table(tmp_path / "m", "path,label", name="t.csv")
    (path.parent / "t.csv.gz").write_bytes(packed(path.read_text()))
    assert labels_by_id(opened(path.parent / "t.csv.gz")) == EXPECTED


def test_mechanics_a_table_in_another_encoding_is_refused_by_its_line(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label")
    path.write_bytes(path.read_bytes().replace(b"p2", b"\xe9t\xe9"))
    assert "Latin-1" in refused(path, "not UTF-8 text .line 4.")


def test_mechanics_a_packed_table_that_is_a_bomb_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tables, "LARGEST_TABLE", 1 << 20)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(bytes(2 << 20)))
    with pytest.raises(InputError, match="larger than"):
        read_table(path, (), "table")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_table(path, (), "table")


def test_regression_ids_may_end_in_tif_and_have_an_index_beside_them(tmp_path: Path) -> None:
    folder = kaggle_folder(tmp_path)
    rows = [f"{k},{i}.tif,{label}" for k, (i, label) in enumerate(zip(IDS, LABELS, strict=True))]
    (folder / "train_labels.csv").write_text("\n".join([",id,label", *rows]) + "\n")
    (folder / "slides.csv").write_text("id,slide\n" + "\n".join(f"{i}.tif,s{i[-1]}" for i in IDS))
    source = opened(folder)
    assert source.splits["train"].ids == IDS
    assert source.splits["train"].slides == [f"s{i[-1]}" for i in IDS]
    assert any("file names" in note for note in source.notes)


def test_regression_a_table_beside_images_is_found(tmp_path: Path) -> None:
    table(tmp_path, "filename,label", row="{stem}.png,{label}", name="labels.csv")
    source = opened(tmp_path)
    assert source.kind == "manifest"
    assert labels_by_id(source) == EXPECTED
    (tmp_path / "labels.csv").write_text("id,target\n" + "\n".join(f"p{k},{k % 2}" for k in range(5)))
    source = opened(tmp_path)
    assert labels_by_id(source) == {f"p{k}": k % 2 for k in range(5)}
    assert unread(source) == {"image not in the table": [str(Path("imgs/p5.png"))]}
    (tmp_path / "more.csv").write_text("id,label\np0,1\n")
    assert "labels.csv, more.csv" in refused(tmp_path, "several tables of labels")


def test_mechanics_classes_that_are_folders_come_before_a_table(tmp_path: Path) -> None:
    lay_out(tmp_path, "normal/n.png", "tumor/t.png")
    (tmp_path / "labels.csv").write_text("id,label\nn,1\nt,0\n")
    assert labels_by_id(opened(tmp_path)) == {"n": 0, "t": 1}


def test_mechanics_a_split_that_a_table_does_not_list_is_unlabeled(tmp_path: Path) -> None:
    lay_out(tmp_path, "train/a.png", "train/b.png", "test/c.png", "test/d.png")
    (tmp_path / "labels.csv").write_text("id,label\na,1\nb,0\n")
    source = opened(tmp_path)
    assert labels_by_id(source) == {"a": 1, "b": 0}
    assert source.splits["test"].ids == ["c", "d"]
    assert source.splits["test"].labels is None


def test_regression_paths_below_splits_stay_in_their_splits(tmp_path: Path) -> None:
    lay_out(tmp_path, "train/a.png", "test/b.png")
    (tmp_path / "t.csv").write_text("path,label\ntrain/a.png,1\ntest/b.png,0\n")
    source = opened(tmp_path / "t.csv")
    assert {name: split.ids for name, split in source.splits.items()} == {"train": ["a"], "test": ["b"]}


def test_mechanics_equal_names_below_a_table_get_ids_of_their_own(tmp_path: Path) -> None:
    lay_out(tmp_path, "x/1.png", "y/1.png")
    (tmp_path / "t.csv").write_text("path,label\nx/1.png,1\ny/1.png,0\n")
    assert labels_by_id(opened(tmp_path / "t.csv")) == {"x_1": 1, "y_1": 0}


def test_mechanics_paths_of_windows_are_read(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label")
    path.write_text(path.read_text().replace("/", "\\"))
    assert labels_by_id(opened(path)) == EXPECTED


def test_mechanics_kaggles_labels_in_part(tmp_path: Path) -> None:
    folder = kaggle_folder(tmp_path)
    (folder / "train" / f"{IDS[0]}.tif").unlink()
    rows = (folder / "train_labels.csv").read_text().splitlines()
    (folder / "train_labels.csv").write_text("\n".join(rows[:-1]) + "\n")
    for asked in (False, True):
        source, sentence = open_source(str(folder), reading=Reading(labeled_only=asked))
        assert len(source.splits["train"]) == ROWS - 2
        assert unread(source) == {"missing file": [IDS[0]], "no label": [IDS[-1]]}
        assert f"NOT READ: 1 × missing file ({IDS[0]}); 1 × no label ({IDS[-1]})" in sentence
        assert [one.serious for one in source.unread] == [not asked] * 2


def test_mechanics_the_command_line_names_columns(pcam: Callable[..., Any], tmp_path: Path) -> None:
    path = table(tmp_path, "path,grade")
    words = ("extract", path, tmp_path / "f", "--families", "color", "--dry-run")
    assert "no label column" in pcam(*words).err
    assert "no label column" not in pcam(*words, "--label-column", "grade").err
    refused = pcam(*words, "--label-column", "grad")
    assert refused.code == 2
    assert "path, grade" in refused.err


@pytest.mark.parametrize("before", ["sep=,\n", "# of 2024\n\n", '"sep=,"\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_regression_lines_before_the_names_of_columns_are_passed_over(
    before: str, end: str, tmp_path: Path
) -> None:
    path = table(tmp_path, "path,label")
    path.write_bytes((before + path.read_text()).replace("\n", end).encode())
    assert labels_by_id(opened(path)) == EXPECTED
    assert labels_by_id(opened(tmp_path)) == EXPECTED


@pytest.mark.parametrize("above", ["../input/set/", "/kaggle/input/set/", "./../../set/", "D:\\set\\"])
def test_regression_paths_of_another_machine_are_found_by_their_names(
    above: str, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    path = table(tmp_path / "set" / "own", "path,label", row=above + "{file},{label}")
    assert labels_by_id(opened(path)) == EXPECTED


def test_invariant_a_path_that_leads_to_a_file_outside_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "set", "path,label", row="../outside/{file},{label}")
    lay_out(tmp_path / "outside", *FILES)
    refused(path, "leads out of")


def test_regression_each_split_may_have_a_table_in_its_folder(tmp_path: Path) -> None:
    """As Hugging Face's imagefolder has it."""
    for split in ("train", "test"):
        table(tmp_path / split, "file_name,label", name="metadata.csv")
    lay_out(tmp_path, "valid/more.png")
    source = opened(tmp_path)
    sizes = {name: len(one) for name, one in source.splits.items()}
    assert sizes == {"train": 6, "test": 6, "valid": 1}
    assert labels_by_id(source, "test") == EXPECTED
    assert source.splits["valid"].labels is None
    assert not source.unread
    assert any("train/metadata.csv, test/metadata.csv" in note for note in source.notes)
    (tmp_path / "test" / "metadata.csv").unlink()
    assert opened(tmp_path).splits["test"].labels is None


def test_regression_each_split_may_have_a_table_called_by_it(tmp_path: Path) -> None:
    lay_out(tmp_path, *FILES)
    for name, rows in (("train", range(3)), ("val", (3, 4)), ("test", (5,))):
        lines = [f"{FILES[k]},{k % 2}" if name != "test" else FILES[k] for k in rows]
        header = "path,label" if name != "test" else "path"
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *lines]))
    source = opened(tmp_path)
    assert {name: one.ids for name, one in source.splits.items()} == {
        "train": ["p0", "p1", "p2"],
        "val": ["p3", "p4"],
        "test": ["p5"],
    }
    assert labels_by_id(source, "val") == {"p3": 1, "p4": 0}
    assert source.splits["test"].labels is None
    assert not source.unread
    (tmp_path / "others.csv").write_text("path,label\nimgs/p0.png,1\n")
    refused(tmp_path, "several tables of labels")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("grades.csv", "path,grade\nimgs/p0.png,1\n", "grades.csv: path, grade"),
        ("labels.json", "{}", "labels.json"),
        ("imgs/labels/p0.txt", "1", "imgs/labels/p0.txt"),
        ("grades.xlsx", "PK", "grades.xlsx"),
        ("notes.txt", "1", None),
    ],
)
def test_regression_a_table_beside_images_without_labels_is_named(
    name: str, content: str, said: str | None, tmp_path: Path
) -> None:
    lay_out(tmp_path, *FILES)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    expected = {} if said is None else {"table that may hold labels, slides or splits": [said]}
    assert unread(opened(tmp_path)) == expected
    for label in ("normal", "tumor"):  # where the folders are classes, no table is asked for
        lay_out(tmp_path / "classed", f"{label}/{label}.png")
    (tmp_path / "classed" / "grades.csv").write_text(content)
    assert unread(opened(tmp_path / "classed")) == {}


def test_regression_ids_may_be_paths_of_windows(tmp_path: Path) -> None:
    path = kaggle_folder(tmp_path)
    lines = [f"C:\\kaggle\\train\\{i}.tif,{label}" for i, label in zip(IDS, LABELS, strict=True)]
    (path / "train_labels.csv").write_text("\n".join(["id,label", *lines]))
    assert labels_by_id(opened(path)) == dict(zip(IDS, LABELS.tolist(), strict=True))
    (path / "train_labels.csv").write_text("id,label\nX1,0\nX2,1\n")
    assert "such as 'X1', 'X2', the images'" in refused(path, "a label for none of the")


@pytest.mark.parametrize("form", ["{}.tif", "C:\\train\\{}.TIF", "{}"])
def test_regression_slides_are_found_by_other_forms_of_ids(form: str, tmp_path: Path) -> None:
    path = kaggle_folder(tmp_path / "data")
    rows = [f"{form.format(i)},s{k % 3}" for k, i in enumerate(IDS)]
    (tmp_path / "s.csv").write_text("\n".join(["image_id,wsi", *rows]))
    source, _ = open_source(str(path), slides=str(tmp_path / "s.csv"))
    train = source.splits["train"]
    assert dict(zip(train.ids, train.slides, strict=True)) == {
        i: f"s{k % 3}" for k, i in enumerate(IDS)
    }
    (tmp_path / "s.csv").write_text("id,slide\nx.5,1\n")
    assert "are such as 'x.5'" in refused(path, "none of the ids", slides=str(tmp_path / "s.csv"))
