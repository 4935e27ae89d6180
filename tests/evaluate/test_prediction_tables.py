"""Tables of truth and predictions as people have them: read as meant and said so, or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from sklearn.metrics import roc_auc_score

from pcam_features.errors import InputError
from pcam_features.evaluate.comparison import ComparisonOptions, run
from pcam_features.evaluate.inputs import Validation, find_features, gather, grouped
from pcam_features.evaluate.predictions import (
    Truth,
    read_predictions,
    read_truth,
    write_predictions,
)
from pcam_features.evaluate.submission import submit
from pcam_features.report.tables import left_out
from pcam_features.sources.ids import matched
from pcam_features.storage.costs import Cost
from pcam_features.store.store import open_store

Run = Callable[..., Result]
RNG = np.random.default_rng(0)
IDS = [f"p{k}" for k in range(60)]
LABELS = np.tile([0, 1], 30).astype(np.int8)
SCORES = (1 / (1 + np.exp(-(LABELS - 0.5 + RNG.normal(size=60))))).round(4)
TRUTH = Truth(IDS, LABELS, [])
SAID = "The probabilities of predictions {} are those of column {}."


def predictions(folder: Path, **columns: object) -> Path:
    """A CSV of predictions with these columns beside `id`."""
    pd.DataFrame({"id": IDS} | columns).to_csv(folder / "a.csv", index=False)
    return folder / "a.csv"


@pytest.mark.parametrize(
    ("negative", "positive"),
    [("label_0", "label_1"), ("label_normal", "label_tumor"), ("0", "1"), ("prob_0", "prob_1")],
)
def test_oracle_columns_that_add_up_to_one_are_two_classes(
    negative: str, positive: str, tmp_path: Path
) -> None:
    file = predictions(tmp_path, **{negative: 1 - SCORES, positive: SCORES})
    read = read_predictions(file, TRUTH, "a")
    np.testing.assert_array_equal(read.rows, SCORES[None])
    assert len(read.notes) == 1
    assert f"{positive} is taken as the probability of tumor" in read.notes[0]
    data = gather(pd.Series(LABELS, IDS), {"a": file})
    assert roc_auc_score(LABELS, data.entries[0].mean) == roc_auc_score(LABELS, SCORES)
    assert list(data.notes) == read.notes


@pytest.mark.parametrize(
    "more",
    [
        {"prediction": LABELS},
        {"label_true": LABELS},
        {"fold": LABELS},
        {"confidence": np.maximum(SCORES, 1 - SCORES)},
    ],
)
@pytest.mark.parametrize("commas", [False, True])
def test_oracle_two_classes_are_found_beside_other_columns(
    more: dict[str, np.ndarray], commas: bool, tmp_path: Path
) -> None:
    table = pd.DataFrame({"id": IDS, "0": 1 - SCORES, "1": SCORES} | more)
    how = {"sep": ";", "decimal": ","} if commas else {}
    table.to_csv(tmp_path / "a.csv", index=False, **how)
    np.testing.assert_allclose(read_predictions(tmp_path / "a.csv", TRUTH, "a").rows, SCORES[None])


def test_mechanics_columns_in_opposite_orders_are_no_seeds(tmp_path: Path) -> None:
    sigmoids = {"0": (1 - SCORES) * 0.8, "1": SCORES * 0.9}
    classes = {"seed0_normal": 1 - SCORES, "seed0_tumor": SCORES}
    for columns in (sigmoids, classes, {"seed_0": sigmoids["0"], "seed_1": SCORES}):
        with pytest.raises(InputError, match="classes and not seeds"):
            read_predictions(predictions(tmp_path, **columns), TRUTH, "a")


def test_mechanics_means_and_deviations_of_seeds_are_no_seeds(tmp_path: Path) -> None:
    seeds = {"seed_0": SCORES, "seed_1": SCORES * 0.9}
    file = predictions(tmp_path, **seeds, seed_mean=SCORES * 0.95, seed_std=SCORES * 0.05)
    read = read_predictions(file, TRUTH, "a")
    np.testing.assert_array_equal(read.rows, [SCORES, SCORES * 0.9])
    assert "not used: seed_mean, seed_std" in read.notes[0]
    with pytest.raises(InputError, match="no column label or seed"):
        read_predictions(predictions(tmp_path, seeds_mean=SCORES, seeds_std=SCORES / 9), TRUTH, "a")


def test_mechanics_of_classes_one_and_two_none_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="keep the probability of tumor alone"):
        read_predictions(predictions(tmp_path, **{"1": 1 - SCORES, "2": SCORES}), TRUTH, "a")


def test_mechanics_truth_in_two_columns_that_differ_is_refused(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": IDS, "y": LABELS, "tumor": 1 - LABELS})
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=r"\(y, tumor\), and they differ"):
        read_truth(tmp_path / "t.csv")
    table.assign(tumor=["tumor" if label else "normal" for label in LABELS]).to_csv(
        tmp_path / "t.csv", index=False
    )
    np.testing.assert_array_equal(read_truth(tmp_path / "t.csv").labels, LABELS)


@pytest.mark.parametrize("other", ["label_true", "label_std"])
def test_mechanics_columns_that_are_no_seeds_are_passed_over_and_named(
    other: str, tmp_path: Path
) -> None:
    file = predictions(tmp_path, **{other: LABELS * 0.9 + 0.05, "label": SCORES})
    read = read_predictions(file, TRUTH, "a")
    np.testing.assert_array_equal(read.rows, SCORES[None])
    assert f"not used: {other}" in read.notes[0]


def test_mechanics_seeds_are_named_so_or_by_numbers(tmp_path: Path) -> None:
    other = (SCORES * 0.7 + 0.1).round(4)
    for names in (("seed_1", "seed_2"), ("label_1", "label_2"), ("1", "2"), ("label", "label_2")):
        read = read_predictions(
            predictions(tmp_path, **{names[0]: SCORES, names[1]: other}), TRUTH, "a"
        )
        np.testing.assert_array_equal(read.rows, [SCORES, other])
        assert read.notes == []


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": LABELS * 0.99 + 0.005}, "equals the truth"),
        ({"seed_1": SCORES, "seed_2": LABELS * 0.9 + 0.05}, "column seed_2 .* equals the truth"),
        ({"seed_1": SCORES, "seed_2": 1 - SCORES}, "add up to 1, so they are classes"),
        ({"x": SCORES, "y": 1 - SCORES}, "add up to 1, so they are classes"),
        ({"label_0": SCORES / 2, "label_1": SCORES / 2, "label_2": 1 - SCORES}, "add up to 1"),
        ({"x": SCORES, "z": SCORES / 2}, "have no column label or seed"),
        ({"prob": SCORES, "score": SCORES / 2}, "have no column label or seed"),
        ({"label": LABELS, "pred": SCORES}, "hold only 0 and 1.* also the columns pred"),
        ({"label": SCORES * 100}, "divide percentages by 100"),
        ({"label": [f"{score:.0%}" for score in SCORES]}, "divide percentages by 100"),
        ({"label": np.log(SCORES / (1 - SCORES))}, "of log-odds"),
    ],
)
def test_mechanics_columns_that_cannot_be_used_are_refused(
    columns: dict[str, np.ndarray], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        read_predictions(predictions(tmp_path, **columns), TRUTH, "a")


@pytest.mark.parametrize(
    ("of_id", "of_score"),
    [("Id", "Label"), ("image_id", "prob"), ("filename", "y_pred"), ("id", "TARGET"), ("name", "P")],
)
def test_oracle_columns_have_many_names(of_id: str, of_score: str, tmp_path: Path) -> None:
    table = pd.DataFrame({of_id: IDS, of_score: SCORES})
    table.to_csv(tmp_path / "a.csv")  # with the index of pandas
    read = read_predictions(tmp_path / "a.csv", TRUTH, "a")
    np.testing.assert_array_equal(read.rows, SCORES[None])
    assert read.notes == ([] if of_score == "Label" else [SAID.format(tmp_path / "a.csv", of_score)])
    table.assign(y_true=LABELS).to_csv(tmp_path / "b.csv", index=False)
    if of_score != "TARGET":
        read = read_predictions(tmp_path / "b.csv", TRUTH, "b")
        np.testing.assert_array_equal(read.rows, SCORES[None])
    slides = pd.DataFrame({of_id: IDS, "slide": [f"s{k % 6}" for k in range(60)]})
    slides.to_csv(tmp_path / "s.csv", index=False)
    data = gather(pd.Series(LABELS, IDS), {"a": pd.Series(SCORES, IDS)}, slides=tmp_path / "s.csv")
    assert data.slides == slides["slide"].tolist()


def test_oracle_decimal_commas_are_read(tmp_path: Path) -> None:
    """As spreadsheets write a table in many countries."""
    decimal = [str(score).replace(".", ",") for score in SCORES]
    pd.DataFrame({"id": IDS, "label": decimal}).to_csv(tmp_path / "a.csv", sep=";", index=False)
    np.testing.assert_array_equal(read_predictions(tmp_path / "a.csv", TRUTH, "a").rows, SCORES[None])


@pytest.mark.parametrize("form", ["{}", "{}.0", "test/{}.tif"])
def test_oracle_ids_that_lost_their_zeros_are_matched_as_numbers(form: str) -> None:
    ids = [f"{k:04d}" for k in range(60)]
    table = pd.DataFrame({"id": [form.format(k) for k in range(60)], "label": SCORES})
    read = read_predictions(table.sample(frac=1, random_state=1), Truth(ids, LABELS, []), "a")
    np.testing.assert_array_equal(read.rows, SCORES[None])
    assert "as numbers, without zeros at their start" in read.notes[0]
    assert matched(["7", "07"], ["007"]) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PAR1\x15\x04", "is a Parquet file, not a CSV; save it as CSV, with pandas.read_parquet"),
        (b"PK\x03\x04\x14", "Excel workbook"),
        (b"\x93NUMPY\x01", "is a NumPy array, which has no ids"),
        (b"\x80\x04\x95", "is a pickle, which is not read because it could run code"),
        (b"BZh91AY", "compressed by bzip2"),
        (b'{"p0": 0.5}', "is JSON, not a CSV"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"p0,0.5\np1,0.25\n", "has no column id; its first line is: p0, 0.5; add a line before it"),
    ],
)
def test_mechanics_what_is_no_table_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(words)):
        read_predictions(tmp_path / "a.csv", TRUTH, "a")
    with pytest.raises(InputError, match="is a folder"):
        read_predictions(tmp_path, TRUTH, "a")


@pytest.mark.parametrize("form", ["{}.tif", "train/{}.png", r"C:\x\{}.TIF", " {}"])
def test_oracle_ids_are_matched_by_their_stems(form: str) -> None:
    table = pd.DataFrame({"id": [form.format(i) for i in IDS], "label": SCORES})
    shuffled = table.sample(frac=1, random_state=1)
    read = read_predictions(shuffled, TRUTH, "a")
    np.testing.assert_array_equal(read.rows, SCORES[None])
    assert repr(form.format("p0")) in read.notes[0]
    slides = pd.DataFrame({"id": table["id"], "slide": [f"s{k % 6}" for k in range(60)]})
    data = gather(pd.Series(LABELS, IDS), {"a": pd.Series(SCORES, IDS)}, slides=slides)
    assert data.slides == slides["slide"].tolist()
    assert "slide table" in data.notes[0]


def test_oracle_a_store_is_found_by_other_forms_of_ids(store_folder: Path) -> None:
    patches = open_store(store_folder).patches("train")
    ids = [f"train/{i}.tif" for i in patches["id"][::-1]]
    found = find_features(store_folder, ids)
    assert found.slides == patches["slide"].tolist()[::-1]
    assert repr(patches["id"].iloc[-1]) in found.note
    assert find_features(store_folder, patches["id"].tolist()).note == ""
    with pytest.raises(InputError, match="ids such as 'x', the store"):
        find_features(store_folder, ["x"])


def test_mechanics_ids_that_differ_are_shown() -> None:
    table = pd.DataFrame({"id": [f"q{k}" for k in range(60)], "label": SCORES})
    with pytest.raises(InputError, match=r"60 of its ids .* such as 'p0'.* the predictions 'q0'"):
        read_predictions(table, TRUTH, "a")
    twice = [f"{split}/p{k}.tif" for split in ("a", "b") for k in range(30)]
    assert matched(twice, IDS) is None
    with pytest.raises(InputError, match="60 of its ids are missing"):
        read_predictions(pd.DataFrame({"id": twice, "label": SCORES}), TRUTH, "a")


@pytest.mark.parametrize(
    ("zero", "one"), [("0.0", "1.0"), ("False", "True"), ("normal", "tumor"), ("no", "yes")]
)
def test_oracle_labels_of_the_truth_may_be_words(zero: str, one: str, tmp_path: Path) -> None:
    words = np.where(LABELS == 1, one, zero)
    pd.DataFrame({"id": IDS, "label": words}).to_csv(tmp_path / "t.csv", index=False)
    for given in (tmp_path / "t.csv", pd.Series(words, IDS)):
        read = read_truth(given)
        assert read.ids == IDS
        np.testing.assert_array_equal(read.labels, LABELS)
    assert bool(read.notes) == (zero != "0.0")
    np.testing.assert_array_equal(read_truth(pd.Series(LABELS == 1, IDS)).labels, LABELS)
    with pytest.raises(InputError, match="not 0 or 1"):
        read_truth(pd.Series(np.where(LABELS == 1, "stroma", zero), IDS))


def test_mechanics_names_that_say_nothing_are_no_slides() -> None:
    names = ["unknown", "n/a", "-", "", "Unknown ", "NaN"]
    slides = [f"s{k % 6}" if k < 30 else names[k % 6] for k in range(60)]
    data = gather(pd.Series(LABELS, IDS), {"a": pd.Series(SCORES, IDS)}, slides=pd.Series(slides, IDS))
    assert data.slides == [f"s{k % 6}" for k in range(30)] + [None] * 30
    assert "30 patches of unknown slide" in data.protocol


def test_mechanics_one_slide_a_patch_is_said_to_be_independent_patches() -> None:
    _, over, sentence = grouped(IDS, LABELS, list(IDS), None, 0)
    assert (over, "one patch each" in sentence) == ("patches", True)
    pairs: list[str | None] = [f"s{k // 2}" for k in range(60)]
    _, over, sentence = grouped(IDS, LABELS, pairs, None, 0)
    assert (over, "hardly more than a patch each" in sentence) == ("slides", True)
    real: list[str | None] = [f"s{k // 10}" for k in range(60)]
    assert grouped(IDS, LABELS, real, None, 0)[1:] == ("slides", "6 slides")


def test_mechanics_a_sample_with_file_names_is_matched_and_said(tmp_path: Path) -> None:
    names = [f"{patch}.tif" for patch in reversed(IDS[:40])]
    pd.DataFrame({"id": names, "label": 0}).to_csv(tmp_path / "sample.csv", index=False)
    said: list[str] = []
    written = submit(tmp_path / "s.csv", IDS, SCORES, tmp_path / "sample.csv", Cost(), said.append)
    assert written == (40, 20)
    table = pd.read_csv(tmp_path / "s.csv")
    assert table["id"].tolist() == names
    np.testing.assert_allclose(table["label"], SCORES[:40][::-1])
    assert "'p39.tif' is 'p39'" in said[0]


def test_mechanics_comparisons_of_odd_tables_by_the_command(pcam: Run, tmp_path: Path) -> None:
    pd.DataFrame({"id": IDS, "label": LABELS}).to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"id": IDS, "label": SCORES}).to_csv(tmp_path / "a.csv", sep=";", index=False)
    pd.DataFrame({"id": IDS, "label": 1 - SCORES}).to_csv(tmp_path / "no worse.csv", index=False)
    run = ("compare", tmp_path / "t.csv")
    found = json.loads(pcam(*run, tmp_path / "a.csv", tmp_path / "no worse.csv", "--json").out)
    verdict = found["verdict"]
    assert found["models"][0]["auc"] == pytest.approx(roc_auc_score(LABELS, SCORES))
    assert "no worse looks inverted" in verdict
    assert "No worse" not in verdict
    declared = ("--pair", "no worse:a")
    worse = json.loads(
        pcam(*run, tmp_path / "a.csv", tmp_path / "no worse.csv", *declared, "--json").out
    )
    assert worse["verdict"].startswith("no worse is worse than a")
    (tmp_path / "b.csv").write_text("id;label\np0;0.5\np1;0.5;3;4\n")
    refused = pcam(*run, tmp_path / "b.csv")
    assert (refused.code, refused.out) == (2, "")
    assert "line 3 has 4 cells" in refused.err
    assert "tokenizing" not in refused.err


def test_mechanics_few_positive_slides_are_not_tested(pcam: Run, tmp_path: Path) -> None:
    slides = np.arange(60) // 4
    labels = ((slides < 3) & (np.arange(60) % 2 == 0)).astype(int)
    for name, values in (("t", labels), ("a", SCORES), ("b", SCORES[::-1])):
        pd.DataFrame({"id": IDS, "label": values}).to_csv(tmp_path / f"{name}.csv", index=False)
    pd.DataFrame({"id": IDS, "slide": slides}).to_csv(tmp_path / "s.csv", index=False)
    files = [tmp_path / f"{name}.csv" for name in "tab"]
    found = json.loads(pcam("compare", *files, "--slides", tmp_path / "s.csv", "--json").out)
    (pair,) = found["differences"]
    assert (pair["tested"], pair["p_value"], pair["p_holm"]) == (False, 1, 1)
    assert "only 3 slides have positive patches and a test needs 4" in pair["finding"]
    assert (found["positive_groups"], found["negative_groups"]) == (3, 15)
    assert "Only 3 slides have positive patches: intervals from so few are rough" in found["verdict"]


@pytest.mark.parametrize("name", ["image_id", "ID", "filename"])
def test_regression_ids_of_data_frames_are_found_as_those_of_files_are(name: str) -> None:
    truth = pd.DataFrame({name: IDS, "label": LABELS})
    shuffled = pd.DataFrame({name: IDS, "label": SCORES}).sample(frac=1, random_state=1)
    for given in (shuffled, shuffled.reset_index(drop=True)):
        data = gather(truth, {"a": given})
        assert roc_auc_score(LABELS, data.entries[0].mean) == roc_auc_score(LABELS, SCORES)
        assert data.ids == IDS
    by_index = pd.DataFrame({"label": SCORES, name: "x"}, index=IDS)  # rows have ids already
    assert gather(truth, {"a": by_index}).ids == IDS


def test_regression_ids_of_two_splits_are_not_matched() -> None:
    truth = pd.Series(LABELS, [f"test/{one}.png" for one in IDS])
    with pytest.raises(InputError, match="do not match the truth"):
        gather(truth, {"a": pd.Series(SCORES, [f"valid/{one}.png" for one in IDS])})
    elsewhere = pd.Series(SCORES, [f"png/{one}" for one in IDS])
    assert len(gather(truth, {"a": elsewhere}).notes) == 1


def test_regression_patches_to_choose_thresholds_on_are_matched_as_others_are() -> None:
    truth, scores = pd.Series(LABELS, IDS), pd.Series(SCORES, IDS)
    again = [f"patches/{one}.tif" for one in IDS]
    tuned_on = Validation(pd.Series(LABELS, again), {"a": pd.Series(SCORES, again)})
    with pytest.raises(InputError, match="60 patches of the validation data are also compared"):
        gather(truth, {"a": scores}, tuned_on=tuned_on)


SLIDES = pd.Series([f"s{k % 6}" for k in range(60)], IDS)
IN_MEMORY: dict[str, tuple[Callable[[], object], str]] = {
    "ids twice": (
        lambda: gather(TRUTHS, {"a": SCORES}, slides=pd.concat([SLIDES, SLIDES + "x"])),
        "slide table has the id p0 more than once",
    ),
    "masked": (
        lambda: gather(TRUTHS, {"a": np.ma.masked_array(SCORES, mask=LABELS)}),
        "is an array with masked values",
    ),
    "complex": (
        lambda: gather(TRUTHS, {"a": pd.Series(SCORES * (1 + 1j), IDS)}),
        "column label holds complex numbers",
    ),
    "arrays in cells": (
        lambda: gather(TRUTHS, {"a": pd.Series([np.array(one) for one in SCORES], IDS, object)}),
        "column label holds arrays",
    ),
    "several slides": (
        lambda: gather(TRUTHS, {"a": SCORES}, slides=dict.fromkeys(IDS, np.array([1, 2]))),
        "slide table holds ndarray in place of a name",
    ),
    "levels of ids": (
        lambda: gather(pd.Series(LABELS, pd.MultiIndex.from_arrays([IDS, IDS])), {"a": SCORES}),
        "truth is indexed on several levels",
    ),
    "levels of columns": (
        lambda: gather(TRUTHS, {"a": pd.DataFrame({("a", "label"): SCORES}, index=IDS)}),
        "has column names of several levels",
    ),
    "a long path": (lambda: gather(TRUTHS, ["a" * 5000]), "cannot be read: File name too long"),
}
TRUTHS = pd.Series(LABELS, IDS)


@pytest.mark.parametrize("what", IN_MEMORY)
def test_regression_what_pandas_may_hold_is_refused_in_a_sentence(what: str) -> None:
    give, sentence = IN_MEMORY[what]
    with pytest.raises(InputError, match=sentence):
        give()


def test_regression_cells_of_excel_without_a_value_are_no_slides() -> None:
    cells = SLIDES.where(np.arange(60) % 3 > 0, "#N/A")
    assert [one is None for one in gather(TRUTHS, {"a": SCORES}, slides=cells).slides] == [
        cell == "#N/A" for cell in cells
    ]


def test_regression_patches_without_a_group_are_counted(tmp_path: Path) -> None:
    groups = pd.DataFrame({"id": [f"{one}.tif" for one in IDS], "center": ["x"] * 40 + [""] * 20})
    groups.to_csv(tmp_path / "g.csv", index=False)
    for by in ([f"{tmp_path / 'g.csv'}:center"], {"center": dict.fromkeys(IDS[:40], "x")}):
        result = run(gather(TRUTHS, {"a": SCORES}), ComparisonOptions(by=by, resamples=10))
        (part,) = result.parts
        assert (part.groups[0].patches, part.left_out.without_group) == (40, 20)
        assert left_out(part) == "Left out by center: 20 patches in no group."
    with pytest.raises(InputError, match="has a group for none of the truth's ids"):
        run(gather(TRUTHS, {"a": SCORES}), ComparisonOptions(by={"g": {"q": "x"}}, resamples=10))


def test_regression_predictions_replace_nothing_else(tmp_path: Path) -> None:
    labels = predictions(tmp_path, label=LABELS)
    before = labels.read_bytes()
    with pytest.raises(InputError, match=r"a\.csv exists and was not written by this command"):
        write_predictions(labels, IDS, SCORES, Cost())
    assert labels.read_bytes() == before
    for own in (tmp_path / "own.csv", tmp_path / "empty.csv"):
        (tmp_path / "empty.csv").touch()
        write_predictions(own, IDS, SCORES, Cost())
        write_predictions(own, IDS, SCORES / 2, Cost())


def test_regression_a_column_seed_beside_labels_is_no_prediction(tmp_path: Path) -> None:
    read = read_predictions(predictions(tmp_path, seed=42, label=SCORES), TRUTH, "a")
    np.testing.assert_array_equal(read.rows, SCORES[None])
    assert "columns that are not used: seed" in read.notes[0]


def test_mechanics_an_empty_cell_is_told_what_to_fill_in(tmp_path: Path) -> None:
    file = predictions(tmp_path, label=["", *SCORES[1:]])
    with pytest.raises(InputError, match="give a number from 0 to 1 in each row"):
        read_predictions(file, TRUTH, "a")
