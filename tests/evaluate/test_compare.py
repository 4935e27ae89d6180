"""Submissions and comparisons are exactly what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pcam_features.errors import InputError
from pcam_features.evaluate.intervals import delong
from pcam_features.evaluate.predictions import write_predictions
from pcam_features.learn.bundle import read
from pcam_features.learn.predict import seen_among
from pcam_features.storage.costs import Cost
from pcam_features.store.store import open_store

Run = Callable[..., Result]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Truth, slides and two models, of which the second is noisier."""
    rng = np.random.default_rng(0)
    ids = [f"p{k:03d}" for k in range(300)]
    labels = rng.integers(0, 2, 300)
    slides = [f"s{k}" for k in rng.integers(0, 15, 300)]
    pd.DataFrame({"id": ids, "label": labels}).to_csv(tmp_path / "truth.csv", index=False)
    pd.DataFrame({"id": ids, "wsi": slides}).to_csv(tmp_path / "slides.csv", index=False)
    for name, noise in (("good", 1.0), ("poor", 3.0)):
        score = 1 / (1 + np.exp(-(2 * labels - 1 + rng.normal(size=300) * noise)))
        table = pd.DataFrame({"id": ids, "label": score})
        table.sample(frac=1, random_state=1).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def test_oracle_comparison_is_scikit_learn_and_delong(pcam: Run, tables: Path) -> None:
    files = [tables / f"{name}.csv" for name in ("truth", "good", "poor")]
    result = json.loads(pcam("compare", *files, "--slides", tables / "slides.csv", "--json").out)
    truth = pd.read_csv(files[0]).set_index("id")["label"]
    scores = [pd.read_csv(file).set_index("id")["label"][truth.index] for file in files[1:]]
    for model, score in zip(result["models"], scores, strict=True):
        assert model["auc"] == pytest.approx(roc_auc_score(truth, score), rel=1e-12)
        for kind in ("resampled", "delong"):
            assert model[kind]["low"] < model["auc"] < model[kind]["high"]
    aucs, covariance = delong(truth.to_numpy(), np.stack(scores))
    (pair,) = result["differences"]
    z = (aucs[0] - aucs[1]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert pair["delong_p_value"] == pytest.approx(2 * norm.sf(abs(z)), rel=1e-6)
    assert pair["p_holm"] == pair["p_value"]
    assert pair["difference"] == pytest.approx(aucs[0] - aucs[1])
    assert "good is better than poor" in pair["finding"]
    assert result["verdict"].startswith("good has the highest AUC")
    assert (result["slides"], result["patches_with_slide"]) == (15, 300)
    assert result["resampled_over"] == "slides"


def test_mechanics_unknown_slides_are_said_to_be(pcam: Run, tables: Path) -> None:
    result = pcam("compare", tables / "truth.csv", tables / "good.csv")
    assert result.code == 0
    assert "of unknown slide, each resampled as if independent" in result.err
    assert "interval across patches" in result.out


def spoil(table: pd.DataFrame, how: str) -> pd.DataFrame:
    values = table["label"].to_numpy().copy()
    if how == "missing":
        return table.iloc[1:]
    if how == "extra":
        return pd.concat([table, pd.DataFrame({"id": ["q"], "label": [0.5]})])
    if how == "duplicate":
        return pd.concat([table, table.iloc[:1]])
    if how == "constant":
        values[:] = 0.5
    if how == "labels":
        values = np.round(values)
    if how in ("nan", "large"):
        values[3] = np.nan if how == "nan" else 1.7
    return table.assign(label=values)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "1 of its ids is missing"),
        ("extra", "1 is not in it"),
        ("duplicate", "more than once"),
        ("constant", "cannot be compared"),
        ("labels", "give probabilities"),
        ("nan", "not a probability"),
        ("large", "not a probability"),
    ],
)
def test_mechanics_bad_predictions(how: str, words: str, pcam: Run, tables: Path) -> None:
    spoil(pd.read_csv(tables / "good.csv"), how).to_csv(tables / "bad.csv", index=False)
    result = pcam("compare", tables / "truth.csv", tables / "poor.csv", tables / "bad.csv")
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert "bad.csv" in result.err


def test_mechanics_bad_truth(pcam: Run, tables: Path) -> None:
    truth = pd.read_csv(tables / "truth.csv")
    truth.assign(label=1).to_csv(tables / "one.csv", index=False)
    assert "one class" in pcam("compare", tables / "one.csv", tables / "good.csv").err
    truth.assign(label=0.5).to_csv(tables / "half.csv", index=False)
    assert "not 0 or 1" in pcam("compare", tables / "half.csv", tables / "good.csv").err
    other = tables / "other.csv"
    other.write_text("id,slide\nzzz,s1\n")
    result = pcam("compare", tables / "truth.csv", tables / "good.csv", "--slides", other)
    assert result.code == 2
    assert "slide table" in result.err


def test_mechanics_seeds_are_columns_or_files(pcam: Run, tables: Path) -> None:
    good = pd.read_csv(tables / "good.csv")
    poor = pd.read_csv(tables / "poor.csv").set_index("id")["label"]
    other = good.assign(label=poor[good["id"]].to_numpy())
    other.to_csv(tables / "poor2.csv", index=False)
    columns = good.rename(columns={"label": "seed_1"}).assign(seed_2=other["label"])
    columns.to_csv(tables / "columns.csv", index=False)
    files = f"files={tables / 'good.csv'},{tables / 'poor2.csv'}"
    found = pcam("compare", tables / "truth.csv", tables / "columns.csv", files, "--json")
    both = json.loads(found.out)["models"]
    assert [m["model"] for m in both] == ["columns", "files"]
    assert [m["seeds"]["count"] for m in both] == [2, 2]
    assert both[0]["metrics"] == both[1]["metrics"]
    assert both[0]["seeds"]["deviation"] > 0


def test_mechanics_thresholds_are_chosen_on_validation(pcam: Run, tables: Path) -> None:
    truth, good = tables / "truth.csv", tables / "good.csv"
    for name in ("truth", "poor"):
        table = pd.read_csv(tables / f"{name}.csv")
        table.assign(id="v" + table["id"]).to_csv(tables / f"v_{name}.csv", index=False)
    chosen = ("--validation-truth", tables / "v_truth.csv", "--validation", tables / "v_poor.csv")
    result = json.loads(pcam("compare", truth, good, *chosen, "--json").out)
    assert result["models"][0]["thresholds"] != [0.5]
    plain = json.loads(pcam("compare", truth, good, "--json").out)
    assert plain["models"][0]["thresholds"] == [0.5]
    few = pcam("compare", truth, good, tables / "poor.csv", *chosen)
    named = ("--validation-truth", tables / "v_truth.csv", "--validation")
    assert "names nobody" in pcam("compare", truth, good, *named, f"nobody={tables / 'v_poor.csv'}").err
    other = json.loads(
        pcam("compare", truth, good, *named, f"good={tables / 'v_poor.csv'}", "--json").out
    )
    assert other["models"] == result["models"]
    assert other["thresholds_chosen_on"] == str(tables / "v_truth.csv")
    assert (few.code, few.out) == (2, "")
    assert "1 times for 2 models" in few.err


def test_mechanics_declared_pairs_alone_are_adjusted_for(pcam: Run, tables: Path) -> None:
    truth, good, poor = (tables / f"{name}.csv" for name in ("truth", "good", "poor"))
    (tables / "third.csv").write_text(poor.read_text().replace("0.5", "0.4"))
    run = ("compare", truth, good, poor, tables / "third.csv")
    every = json.loads(pcam(*run, "--json").out)
    one = json.loads(pcam(*run, "--pair", "good:poor", "--margin", "0.02", "--json").out)
    assert len(every["differences"]) == 3
    (pair,) = one["differences"]
    assert pair["p_holm"] == pair["p_value"] == every["differences"][0]["p_value"]
    assert every["differences"][0]["p_holm"] >= pair["p_value"]
    assert pair["not_inferior"]
    assert one["verdict"].startswith("good is better than poor: +")
    wrong = pcam(*run, "--pair", "good:bad")
    assert wrong.code == 2
    assert "good, poor, third" in wrong.err
    assert "twice" in pcam(*run, "--pair", "good:poor", "--pair", "poor:good").err


def test_invariant_the_same_seeds_in_another_order_are_the_same_model(pcam: Run, tables: Path) -> None:
    good, rng = pd.read_csv(tables / "good.csv"), np.random.default_rng(0)
    seeds = [np.clip(good["label"] + rng.normal(0, 0.1, len(good)), 0, 1) for _ in range(3)]
    for name, order in (("x", (0, 1, 2)), ("y", (1, 2, 0)), ("z", (2, 1, 0))):
        table = {f"seed_{n}": seeds[k] for n, k in enumerate(order)}
        pd.DataFrame({"id": good["id"]} | table).to_csv(tables / f"{name}.csv", index=False)
    files = [tables / f"{name}.csv" for name in "xyz"]
    found = json.loads(pcam("compare", tables / "truth.csv", *files, "--json").out)
    assert [d["p_value"] for d in found["differences"]] == [1, 1, 1]
    assert [d["delong_p_value"] for d in found["differences"]] == [1, 1, 1]
    assert all("no difference" in d["finding"] for d in found["differences"])


def test_mechanics_what_cannot_be_told_apart_is_refused(pcam: Run, tables: Path) -> None:
    truth, good = tables / "truth.csv", tables / "good.csv"
    table = pd.read_csv(good)
    (tables / "two.csv").write_text(good.read_text().replace("id,label", "id,label", 1))
    table.assign(again=table["label"]).to_csv(
        tables / "twice.csv", index=False, header=["id", "label", "label"]
    )
    table.to_csv(tables / "e=q.csv", index=False)
    table.to_csv(tables / "q\x1b[31m.csv", index=False)
    validation = ("--validation-truth", truth, "--validation", tables / "poor.csv")
    for words, said in (
        ((tables / "twice.csv",), "two columns named label"),
        ((good, f"x={tables / '..' / tables.name / 'good.csv'}"), "given twice"),
        ((tables / "q\x1b[31m.csv",), "unprintable characters"),
        ((good, *validation), "are also compared"),
        ((good, f"y={','.join(str(tables / f'seed_{k}.csv') for k in range(40))}"), "does not exist"),
        ((good, "--report", tables), "cannot be written"),
        ((good, "--report", good / "x.html"), "cannot be written"),
    ):
        refused = pcam("compare", truth, *words)
        assert (refused.code, refused.out) == (2, ""), said
        assert said in refused.err
    assert pcam("compare", truth, f"m={tables / 'e=q.csv'}").code == 0


def test_mechanics_a_mean_of_seeds_that_is_constant_has_no_rank(pcam: Run, tables: Path) -> None:
    good = pd.read_csv(tables / "good.csv")
    good.assign(label=1 - good["label"]).to_csv(tables / "opposite.csv", index=False)
    anti = f"anti={tables / 'good.csv'},{tables / 'opposite.csv'}"
    run = ("compare", tables / "truth.csv", anti, tables / "poor.csv")
    result = pcam(*run, "--report", tables / "r.html", "--json")
    assert result.code == 0
    assert json.loads(result.out)["agreement"]["spearman"][0][1] is None


def test_mechanics_partly_known_slides_leave_the_rest_to_pseudo_slides(
    pcam: Run, store_folder: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    labels = pd.read_csv(synthetic_folder / "train_labels.csv")
    slides = pd.read_csv(synthetic_folder / "slides.csv").set_index("id").loc[labels["id"]]
    rng = np.random.default_rng(0)
    score = labels["label"] * 0.4 + rng.random(len(labels)) * 0.6
    labels.to_csv(tmp_path / "t.csv", index=False)
    labels.assign(label=score).to_csv(tmp_path / "p.csv", index=False)
    slides.iloc[:20].to_csv(tmp_path / "s.csv")
    run = ("compare", tmp_path / "t.csv", tmp_path / "p.csv", "--slides", tmp_path / "s.csv", "--json")
    alone = json.loads(pcam(*run).out)
    assert (alone["resampled_over"], "too narrow" in alone["protocol"]) == ("slides", True)
    joined = json.loads(pcam(*run, "--features", store_folder).out)
    assert joined["resampled_over"] == "pseudo-slides"
    assert joined["groups"] < alone["groups"] / 4


def test_mechanics_groups_of_a_table_and_slides_of_one_class(pcam: Run, tables: Path) -> None:
    truth = pd.read_csv(tables / "truth.csv")
    slides = pd.read_csv(tables / "slides.csv")
    slides.loc[truth["label"] == 0, "wsi"] = slides["wsi"].where(slides["wsi"] != "s3", "s4")
    slides["center"] = np.where(np.arange(len(slides)) % 2, "A", "B")
    slides.to_csv(tables / "slides2.csv", index=False)
    run = ("compare", tables / "truth.csv", tables / "good.csv", "--slides")
    words = (f"{tables / 'slides2.csv'}:wsi", "--by", f"{tables / 'slides2.csv'}:center")
    result = pcam(*run, *words)
    assert "Left out" in result.err
    assert "with only one class" in result.err
    parts = json.loads(pcam(*run, *words, "--json").out)["parts"]
    assert [one["group"] for one in parts["center"]["groups"]] == ["A", "B"]
    assert "s3" not in [one["group"] for one in parts["slide"]["groups"]]
    both = ("--by", f"{tables / 'slides2.csv'}:center", "--by", tables / "site.csv")
    slides[["id"]].assign(wsi="x").to_csv(tables / "site.csv", index=False)
    assert set(json.loads(pcam(*run, words[0], *both, "--json").out)["parts"]) == {
        "slide",
        "center",
        "wsi",
    }
    assert "name one as" in pcam(*run, words[0], "--by", tables / "slides2.csv").err
    one_slide = slides.assign(wsi=np.where(truth["label"] == 1, "only", slides["wsi"]))
    one_slide.to_csv(tables / "one.csv", index=False)
    refused = pcam(*run, f"{tables / 'one.csv'}:wsi")
    assert (refused.code, refused.out) == (2, "")
    assert "all positive patches are from one slide" in refused.err


def test_invariant_costs_of_other_predictions_are_not_shown(pcam: Run, tables: Path) -> None:
    """As after a run that was killed between writing predictions and their costs."""
    good, run = tables / "own.csv", ("compare", tables / "truth.csv", tables / "own.csv")
    table = pd.read_csv(tables / "good.csv", dtype={"id": str})
    write_predictions(good, table["id"].tolist(), table["label"].to_numpy(), Cost(parameters=1234))
    assert json.loads(pcam(*run, "--json").out)["models"][0]["cost"] == {"parameters": 1234}
    table.assign(label=table["label"] * 0.9).to_csv(good, index=False)
    told = json.loads(pcam(*run, "--json").out)["models"][0]["cost"]
    assert told == {"left_out": "own.cost.json is of other predictions"}
    text = pcam(*run, "--markdown").out
    assert "own.cost.json is of other predictions" in text
    assert "1,234" not in text


def test_invariant_predictions_change_only_together_with_their_costs(tmp_path: Path) -> None:
    out, rows = tmp_path / "p.csv", np.array([0.25, 0.75])
    write_predictions(out, ["a", "b"], rows, Cost(parameters=1))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sorted(before) == ["p.cost.json", "p.csv"]
    with pytest.raises(InputError, match="not from 0 to 1"):
        write_predictions(out, ["a", "b"], rows + 1, Cost(parameters=2))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    (tmp_path / "p.cost.json").unlink()
    (tmp_path / "p.cost.json").mkdir()
    with pytest.raises(InputError, match=r"p\.cost\.json cannot be written"):
        write_predictions(out, ["a", "b"], rows / 2, Cost(parameters=2))
    assert out.read_bytes() == before["p.csv"]


def test_mechanics_costs_stand_beside_predictions(pcam: Run, tables: Path) -> None:
    cost = tables / "good.cost.json"
    cost.write_text('{"parameters": 1234, "predict_patches_per_second": 5.5, "train_device": "x"}')
    run = ("compare", tables / "truth.csv", tables / "good.csv", tables / "poor.csv")
    assert json.loads(pcam(*run, "--json").out)["models"][0]["cost"]["parameters"] == 1234
    text = pcam(*run, "--markdown", "--published").out
    assert "1,234" in text
    assert "P4M-DenseNet" in text
    for bad in (
        f'{{"parameters": {"9" * 400}}}',
        '{"train_device": "\\ud800"}',
        '{"parameters": -1}',
        '{"price": 3}',
        '{"train_device": 3}',
        '{"parameters": true}',
        "[",
    ):
        cost.write_text(bad)
        refused = pcam(*run)
        assert (refused.code, refused.out) == (2, "")
        assert "good.cost.json" in refused.err


def test_mechanics_predictions_of_a_model_say_what_they_cost(
    pcam: Run, model_folder: Path, store_folder: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.csv"
    assert pcam("predict", model_folder, store_folder, out).code == 0
    cost = json.loads((tmp_path / "p.cost.json").read_text())
    assert cost["predict_patches_per_second"] > 0
    assert cost["train_patches_per_second"] > 0
    assert (
        cost["train_seconds"]
        > len(open_store(store_folder).patches("train")) / (cost["train_patches_per_second"])
    )  # which leaves out the extraction of features
    assert cost["parameters"] > 1000
    assert pcam("predict", model_folder, store_folder, tmp_path / "t.csv", "--split", "train").code == 0
    assert "predict_patches_per_second" not in json.loads((tmp_path / "t.cost.json").read_text())


def test_mechanics_patches_a_model_was_fitted_on_are_counted(
    model_folder: Path, store_folder: Path
) -> None:
    store = open_store(store_folder)
    model = read(model_folder)
    ids = [store.patches(split)["id"] for split in ("train", "test")]
    assert [seen_among(model, model_folder, own) for own in ids] == [240, 0]


def test_mechanics_submission_is_the_samples(
    pcam: Run, model_folder: Path, store_folder: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    sample = pd.read_csv(synthetic_folder / "sample_submission.csv").sample(frac=0.8, random_state=1)
    sample.to_csv(tmp_path / "sample.csv", index=False)
    out = tmp_path / "submission.csv"
    result = pcam("submit", model_folder, store_folder, out, "--sample", tmp_path / "sample.csv")
    assert result.code == 0
    assert f"{60 - len(sample)} predictions left out, because the sample lacks their ids" in result.err
    submission = pd.read_csv(out)
    assert list(submission.columns) == ["id", "label"]
    assert submission["id"].tolist() == sample["id"].tolist()
    assert submission["label"].between(0, 1).all()
    assert pcam("predict", model_folder, store_folder, tmp_path / "p.csv").code == 0
    predicted = pd.read_csv(tmp_path / "p.csv").set_index("id")["label"]
    assert submission["label"].tolist() == predicted[submission["id"]].tolist()
