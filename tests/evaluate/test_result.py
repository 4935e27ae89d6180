"""The records of a comparison: the JSON they become, their tables, and inputs from memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pcam_features.errors import InputError
from pcam_features.evaluate.comparison import run
from pcam_features.evaluate.inputs import Validation, gather
from pcam_features.evaluate.options import ComparisonOptions
from pcam_features.evaluate.result import Comparison

BEFORE = Path(__file__).with_name("comparison.json")  # printed by pcam before results were records
OPTIONS = ComparisonOptions(resamples=100)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tables that BEFORE is of, in the working directory."""
    monkeypatch.chdir(tmp_path)
    rng, n = np.random.default_rng(7), 240
    ids = [f"p{k:03d}" for k in range(n)]
    labels = rng.integers(0, 2, n)
    slides = [f"s{k}" for k in rng.integers(0, 12, n)]
    pd.DataFrame({"id": ids, "label": labels}).to_csv("truth.csv", index=False)
    center = np.where(np.arange(n) % 3, "A", "B")
    pd.DataFrame({"id": ids, "slide": slides, "center": center}).to_csv("slides.csv", index=False)
    for name, noises in (("good", (1.0,)), ("seeds", (2.0, 2.2, 2.1)), ("poor", (4.0,))):
        columns: dict[str, Any] = {"id": ids}
        for k, noise in enumerate(noises):
            score = 1 / (1 + np.exp(-(2 * labels - 1 + rng.normal(size=n) * noise)))
            columns["label" if len(noises) == 1 else f"seed_{k}"] = score.round(6)
        pd.DataFrame(columns).to_csv(f"{name}.csv", index=False)
    cost = '{"parameters": 1234, "train_device": "x", "predict_patches_per_second": 5.5}'
    Path("good.cost.json").write_text(cost)
    return tmp_path


@pytest.fixture
def compared(folder: Path) -> Comparison:
    data = gather(Path("truth.csv"), ["good.csv", "seeds.csv", "poor.csv"], slides="slides.csv:slide")
    by = ["slides.csv:center"]
    return run(data, ComparisonOptions(by=by, margin=0.02, resamples=200))


def flat(content: Any, path: str = "") -> dict[str, Any]:
    """Every value of some JSON by its path, in order."""
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return {k: v for name, one in items for k, v in flat(one, f"{path}/{name}").items()}
    return {path: content}


def test_parity_a_comparison_is_the_json_of_before(compared: Comparison) -> None:
    before, now = (flat(one) for one in (json.loads(BEFORE.read_text()), compared.to_dict()))
    assert list(now) == list(before)
    for name, value in before.items():
        if isinstance(value, float):
            assert now[name] == pytest.approx(value, rel=1e-9), name
        else:
            assert now[name] == value, name
    json.dumps(compared.to_dict(), allow_nan=False)


def test_invariant_the_frames_are_the_records(compared: Comparison) -> None:
    models, differences = compared.models_frame(), compared.differences_frame()
    assert models.index.tolist() == ["good", "seeds", "poor"]
    assert differences.index.names == ["a", "b"]
    for model in compared.models:
        row = models.loc[model.name]
        assert (row["auc"], row["auc_low"]) == (model.auc, model.resampled.low)
        assert row["brier_high"] == model.metrics["brier"].high
        assert row["delong_high"] == model.delong.high
        assert row["seeds"] == model.seeds.count
    assert models["parameters"].tolist()[0] == 1234
    assert models["parameters"].isna().tolist() == [False, True, True]
    assert "ece_low" not in models
    for pair in compared.differences:
        row = differences.loc[(pair.a, pair.b)]
        assert row["difference"] == models.loc[pair.a, "auc"] - models.loc[pair.b, "auc"]
        assert (row["low"], row["p_holm"]) == (pair.resampled.low, pair.p_holm)
        assert (row["finding"], row["not_inferior"]) == (pair.finding, pair.not_inferior)
    alone = run(gather(Path("truth.csv"), ["good.csv"]), OPTIONS)
    assert alone.differences_frame().empty
    assert "not_inferior" not in alone.differences_frame()
    with pytest.raises(FrozenInstanceError):
        compared.verdict = ""  # type: ignore[misc]


def test_mechanics_a_comparison_shows_itself_in_a_notebook(folder: Path) -> None:
    good = pd.read_csv("good.csv").set_index("id")["label"]
    hostile = "<script>alert(1)</script>"
    data = gather(Path("truth.csv"), {hostile: good, "other": 1 - good, "x" * 300: good**2})
    html = run(data, OPTIONS)._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<circle") == 3
    assert html.count("<table") == 2
    for number in re.findall(r'(?:x1|x2|cx)="([^"]+)"', html):
        assert 0 <= float(number) <= 640


FORMS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "path": lambda table: Path("good.csv"),
    "series": lambda table: table.set_index("id")["label"].sample(frac=1, random_state=1),
    "frame": lambda table: table.sample(frac=1, random_state=2),
    "indexed frame": lambda table: table.set_index("id").sample(frac=1, random_state=3),
    "array": lambda table: table["label"].to_numpy(),
    "list": lambda table: table["label"].tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_parity_predictions_from_memory_are_those_of_files(folder: Path, form: str) -> None:
    given = FORMS[form](pd.read_csv("good.csv"))
    (model,) = gather(Path("truth.csv"), {"good": given}).entries
    (from_file,) = gather(Path("truth.csv"), ["good.csv"]).entries
    np.testing.assert_array_equal(model.rows, from_file.rows)
    assert model.name == from_file.name == "good"
    assert (model.cost != {}) == (form == "path")


def test_parity_everything_from_memory_is_everything_from_files(
    folder: Path, compared: Comparison
) -> None:
    truth = pd.read_csv("truth.csv")
    table = pd.read_csv("slides.csv").set_index("id")
    seeds = pd.read_csv("seeds.csv")
    models = {
        "good": pd.read_csv("good.csv").set_index("id")["label"],
        "seeds": seeds.drop(columns="id").to_numpy(),
        "poor": pd.read_csv("poor.csv"),
    }
    for labels in (truth, truth.set_index("id")["label"], truth.astype({"label": bool})):
        for slides in (table["slide"], table["slide"].to_dict(), table, table.reset_index()):
            data = gather(labels, models, slides=slides)
            options = ComparisonOptions(by={"center": table["center"]}, margin=0.02, resamples=200)
            result = run(data, options)
            assert result.parts == compared.parts
            assert result.differences == compared.differences
            assert [m.metrics for m in result.models] == [m.metrics for m in compared.models]
            assert result.protocol == "12 slides"


def test_parity_other_tables_that_become_pandas_are_taken(folder: Path) -> None:
    class Table:
        def to_pandas(self) -> pd.DataFrame:
            return pd.read_csv("good.csv")

    (model,) = gather(Path("truth.csv"), {"good": Table()}).entries  # type: ignore[dict-item]
    (from_file,) = gather(Path("truth.csv"), ["good.csv"]).entries
    np.testing.assert_array_equal(model.rows, from_file.rows)


def changed(series: pd.Series[float], value: Any) -> pd.Series[float]:
    copy = series.astype(object)
    copy.iloc[3] = value
    return copy


def test_mechanics_bad_predictions_in_memory_are_told_as_those_of_files(folder: Path) -> None:
    good = pd.read_csv("good.csv").set_index("id")["label"]
    frame = pd.read_csv("good.csv")
    both = np.stack([1 - good.to_numpy(), good.to_numpy()], axis=1)
    nameless = good.rename(index={"p002": None})
    cases: list[tuple[Any, str]] = [
        (good.iloc[1:], "1 of its ids is missing, the first p000,"),
        (good.iloc[1:], "Predict the missing ones too."),
        (pd.concat([good, pd.Series({"q": 0.5})]), "1 is not in it"),
        (pd.concat([good, pd.Series({"q": 0.5})]), "Leave the others out of the predictions."),
        (good.rename({"p000": "q"}), "Give the predictions of the same patches, with the ids of the"),
        (pd.concat([good, good.iloc[:1]]), "has the id p000 more than once"),
        (good * 0 + 0.5, "are all 0.5; a constant prediction cannot be compared"),
        (good.round(), "hold only 0 and 1"),
        (changed(good, np.nan), "row 3: nan for p003 is not a probability"),
        (changed(good, 1.7), "row 3: 1.7 for p003 is not a probability"),
        (changed(good, "tumor"), "row 3: 'tumor' for p003 is not a probability"),
        (good.to_numpy()[1:], "array of shape (239,); give (240,)"),
        (good.to_numpy()[None], "array of shape (1, 240); give (240,)"),
        (both, "give the second, [:, 1]"),
        (frame.rename(columns={"label": "x"}).assign(z=0.5), "have no column label or seed"),
        (pd.concat([frame, frame[["label"]]], axis=1), "two columns named label"),
        (nameless, "has no id in row 2"),
        (3, "is given as int; give a path"),
        (None, "is given as NoneType; give a path"),
        (Path("none.csv"), "none.csv does not exist"),
    ]
    for given, words in cases:
        with pytest.raises(InputError, match=re.escape(words)) as error:
            gather(Path("truth.csv"), {"mine": good**2, "bad": given})
        assert "bad" in str(error.value) or "none.csv" in str(error.value)
    for models, words in (
        ({}, "no models"),
        ({"": good}, "name is empty"),
        ({"\x1b": good}, "unprintable"),
    ):
        with pytest.raises(InputError, match=words):
            gather(Path("truth.csv"), models)


def test_mechanics_bad_truth_and_slides_in_memory_are_told(folder: Path) -> None:
    truth = pd.read_csv("truth.csv").set_index("id")["label"]
    models = {"good": pd.read_csv("good.csv")}
    for given, words in (
        (changed(truth, np.nan), "truth, row 3: the label of p003 is 'nan', not 0 or 1"),
        (changed(truth, 0.5), "truth, row 3: the label of p003 is '0.5', not 0 or 1"),
        (truth * 0, "has only one class"),
        (truth.to_numpy(), "truth is an array and has no ids"),
        (truth.rename("shade").to_frame(), "truth has no column label; it has: shade, id"),
    ):
        with pytest.raises(InputError, match=words):
            gather(given, models)
    for slides in ({"q": "s1"}, pd.Series({"q": np.nan, "r": ""})):
        with pytest.raises(InputError, match="slide table has none of the truth's ids"):
            gather(truth, models, slides=slides)
    unknown = gather(truth, models, slides=pd.Series({"p000": np.nan, "p001": ""}))
    assert not any(unknown.slides)
    both = pd.DataFrame({"id": ["p000"], "a": ["s1"], "b": ["s2"]})
    with pytest.raises(InputError, match="slide table has 2 columns beside id"):
        gather(truth, models, slides=both)
    with pytest.raises(InputError, match="--by table has 2 columns beside id"):
        run(gather(truth, models), ComparisonOptions(by={"center": both}))
    partly = gather(truth, models, slides={"p000": "s1", "p001": None, "p002": "nan"})
    assert partly.slides[:3] == ["s1", None, None]


def test_parity_thresholds_are_chosen_on_validation_data_in_memory(folder: Path) -> None:
    truth, good = (pd.read_csv(f"{name}.csv") for name in ("truth", "poor"))
    for table, name in ((truth, "v_truth"), (good, "v_poor")):
        table["id"] = "v" + table["id"]
        table.to_csv(f"{name}.csv", index=False)
    files = Validation(Path("v_truth.csv"), ["v_poor.csv"])
    from_files = gather(Path("truth.csv"), ["good.csv"], tuned_on=files)
    memory = Validation(truth, {"good": good})
    from_memory = gather(Path("truth.csv"), ["good.csv"], tuned_on=memory)
    assert from_files.entries[0].thresholds == from_memory.entries[0].thresholds != [0.5]
    with pytest.raises(InputError, match="names nobody"):
        gather(Path("truth.csv"), ["good.csv"], tuned_on=Validation(truth, {"nobody": good}))


def test_mechanics_slides_that_are_all_unknown_are_no_error() -> None:
    ids = [f"patch{k}" for k in range(40)]
    truth = pd.Series(np.arange(40) % 2, index=ids)
    scores = pd.Series(np.linspace(0.1, 0.9, 40), index=ids)
    slides = pd.Series([None] * 40, index=ids, dtype=object)
    data = gather(truth, {"one": scores}, slides=slides)
    assert data.slides == [None] * 40
    assert "as if independent" in data.protocol


@pytest.mark.parametrize(
    ("labels", "slides", "words"),
    [
        ([], "", "has only one class"),
        ([1], "", "has only one class"),
        ([1, 1, 1, 1], "", "has only one class"),
        ([1, 0, 0, 0], "", "only 1 patch is positive; intervals need positive patches from"),
        ([1, 1, 1, 0], "", "only 1 patch is negative; intervals need negative patches from"),
        ([1, 1, 0, 0], "ssss", "all patches are from one slide"),
        ([1, 1, 0, 0], "sstu", "all positive patches are from one slide"),
    ],
)
def test_mechanics_too_few_patches_are_told(labels: list[int], slides: str, words: str) -> None:
    ids = [f"p{k}" for k in range(len(labels))]
    truth = pd.Series(labels, index=ids, dtype=np.int64)
    scores = pd.Series(np.linspace(0.2, 0.8, len(labels)), index=ids)
    known = dict(zip(ids, slides, strict=True)) if slides else None
    with pytest.raises(InputError, match=words):
        gather(truth, {"a": scores}, slides=known)


def test_mechanics_four_patches_are_compared_with_a_caution() -> None:
    ids = ["p0", "p1", "p2", "p3"]
    truth = pd.Series([1, 1, 0, 0], index=ids)
    models = {
        "a": pd.Series([0.9, 0.8, 0.1, 0.2], index=ids),
        "b": pd.Series([0.1, 0.9, 0.5, 0.2], ids),
    }
    result = run(gather(truth, models), OPTIONS)
    assert "cannot be tested, because only 2 patches are positive and a test needs 6" in result.verdict
    assert "Only 2 patches are positive: intervals from so few are rough" in result.verdict
    assert result._repr_html_()
