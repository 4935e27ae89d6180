"""Combinations with other models' predictions are held to numbers worked out by hand and by others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from signed import seal
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import pcam_features as pcam
from pcam_features.constants import Shares
from pcam_features.errors import InputError
from pcam_features.evaluate.gains import gains
from pcam_features.learn import bundle
from pcam_features.learn.blend import Parts, across, blend, fit_stack, shares_of
from pcam_features.store.values import stored

ROWS = 600
GROUP = np.repeat(np.arange(60), 10)
FOLD = GROUP % 5


def data(seed: int = 0) -> tuple[Parts, np.ndarray]:
    """Three models of different quality, scale and offset; the second has folds of its own."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.5, ROWS) + np.repeat(rng.normal(0, 0.7, 60), 10)
    labels = (rng.random(ROWS) < expit(truth)).astype(np.int8)
    other = GROUP % 3
    log_odds = np.stack(
        [
            truth + rng.normal(0, 2, ROWS),
            4 * (truth + rng.normal(0, 1, ROWS)) + 5 * other,
            0.3 * (truth + rng.normal(0, 3, ROWS)) - 1,
        ],
        axis=1,
    )
    folds = np.stack([FOLD, other, np.zeros(ROWS, int)], axis=1)
    return Parts(("a", "b", "c"), log_odds, folds), labels


def by_hand(parts: Parts, shares: dict[str, float]) -> np.ndarray:
    """Log-odds that pandas standardizes within folds, in some shares."""
    z, sd, mean = [], [], []
    for column, fold in zip(parts.log_odds.T, parts.folds.T, strict=True):
        known = pd.Series(column)
        sd.append(np.sqrt(((known - known.groupby(fold).transform("mean")) ** 2).mean()))
        mean.append(known.mean())
        z.append((known - mean[-1]) / sd[-1])
    share = np.array([shares[name] for name in parts.names])
    return np.asarray(share @ np.array(z) * (share @ np.array(sd)) + share @ np.array(mean))


def test_oracle_equal_shares_by_hand() -> None:
    parts, labels = data()
    found = blend(parts, labels, FOLD, GROUP, Shares.equal, "combined")
    expected = by_hand(parts, dict.fromkeys(parts.names, 1 / 3))
    np.testing.assert_allclose(across(parts, labels, FOLD, Shares.equal), expected)
    auc = roc_auc_score(labels, expected)
    assert found.scores["combined"].value == pytest.approx(auc, abs=1e-12)
    assert found.blend.candidates["equal"] == pytest.approx(auc, abs=1e-12)
    for name, column in zip(parts.names, parts.log_odds.T, strict=True):
        assert found.scores[name].value == pytest.approx(roc_auc_score(labels, column), abs=1e-12)
    calibrated = found.blend.stack.calibrated(expected)
    np.testing.assert_allclose(found.probabilities, calibrated)
    for gain, k in zip(found.blend.gains, range(3), strict=True):
        rest = parts.without(k)
        other = by_hand(rest, dict.fromkeys(rest.names, 0.5))
        assert gain.part == parts.names[k]
        assert gain.others == rest.names
        assert gain.difference.value == pytest.approx(auc - roc_auc_score(labels, other), abs=1e-12)


def test_oracle_fitted_shares_are_scikit_learns() -> None:
    parts, labels = data()
    z = (parts.log_odds - parts.log_odds.mean(axis=0)) / parts.spreads()
    expected = LogisticRegression(C=1, tol=1e-10).fit(z, labels).coef_[0]
    assert min(expected) > 0
    shares = shares_of(parts, labels, Shares.fitted)
    np.testing.assert_allclose(shares, expected / expected.sum(), rtol=1e-4)
    assert shares.sum() == pytest.approx(1)
    found = blend(parts, labels, FOLD, GROUP, Shares.fitted, "combined")
    assert found.blend.shares == dict(zip(parts.names, shares, strict=True))
    assert set(found.blend.candidates) == {"equal", "fitted"}
    assert found.blend.candidates["fitted"] == found.scores["combined"].value


def test_parity_gains_are_the_differences_that_compare_reports() -> None:
    parts, labels = data()
    ids = [f"p{k}" for k in range(ROWS)]
    whole, without = parts.log_odds @ [1, 0.25, 1], parts.log_odds[:, 1]
    (gain,) = gains(labels, whole, {"a": without}, GROUP)
    compared = pcam.compare(
        pd.Series(labels, ids),
        {"whole": pd.Series(expit(whole / 9), ids), "rest": pd.Series(expit(without / 9), ids)},
        slides=dict(zip(ids, [f"{k:02d}" for k in GROUP], strict=True)),  # in the same order
        resamples=100,
        progress=None,
    )
    (expected,) = compared.result.differences
    assert gain.difference.value == pytest.approx(expected.resampled.value, abs=1e-12)
    assert gain.difference.low == pytest.approx(expected.resampled.low, abs=1e-12)
    assert gain.difference.high == pytest.approx(expected.resampled.high, abs=1e-12)
    assert gain.p_value == pytest.approx(expected.p_value)


@pytest.mark.parametrize("how", Shares)
def test_invariant_no_label_of_a_fold_has_a_part_in_what_is_said_of_it(how: Shares) -> None:
    parts, labels = data()
    found = across(parts, labels, FOLD, how)
    for k in range(5):
        changed = np.where(k == FOLD, 1 - labels, labels)
        own = across(parts, changed, FOLD, how)
        np.testing.assert_array_equal(found[k == FOLD], own[k == FOLD])
        assert (how == Shares.equal) == np.array_equal(found, own)  # equal shares know no labels


def test_invariant_scale_and_offset_of_a_part_do_not_matter() -> None:
    parts, labels = data()
    other = Parts(parts.names, parts.log_odds * (1, 9, 0.01) - (0, 3, 5), parts.folds)
    aucs = [blend(one, labels, FOLD, GROUP, Shares.equal, "x").scores["x"] for one in (parts, other)]
    assert aucs[0].value == pytest.approx(aucs[1].value, abs=1e-12)


def test_mechanics_a_part_that_tells_folds_alone_has_no_share() -> None:
    parts, labels = data()
    constant = Parts(parts.names, np.column_stack([parts.log_odds[:, :2], FOLD * 1.0]), parts.folds)
    constant.folds[:, 2] = FOLD
    _, shares = fit_stack(constant, labels, FOLD, Shares.equal)
    assert shares.tolist() == [0.5, 0.5, 0]
    np.testing.assert_array_equal(shares_of(constant, labels, Shares.fitted) > 0, [True, True, False])


def test_mechanics_shares_cannot_be_fitted_where_nothing_is_above_chance() -> None:
    parts, labels = data()
    worse = Parts(parts.names, -parts.log_odds, parts.folds)
    with pytest.raises(InputError, match="use --shares equal"):
        blend(worse, labels, FOLD, GROUP, Shares.fitted, "x")
    assert set(blend(worse, labels, FOLD, GROUP, Shares.equal, "x").blend.candidates) == {"equal"}


def test_mechanics_predictions_too_good_to_be_out_of_fold_are_named() -> None:
    parts, labels = data()
    ids = [f"p{k}" for k in range(ROWS)]
    tables = {
        name: pd.DataFrame({"id": ids, "label": score, "fold": FOLD})
        for name, score in {
            "a": expit(parts.log_odds[:, 0]),
            "seen": np.where(labels == 1, 0.9, 0.1) + parts.log_odds[:, 1] / 1000,
        }.items()
    }
    slides = dict(zip(ids, map(str, GROUP), strict=True))
    (warning,) = [
        line
        for line in pcam.blend(pd.Series(labels, ids), tables, slides=slides).findings
        if line.startswith("warning")
    ]
    assert warning.startswith("warning: an out-of-fold AUC of 1.0000 of seen is too good")


@pytest.fixture(scope="module")
def store(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one family."""
    folder = tmp_path_factory.mktemp("store") / "store"
    pcam.extract(str(synthetic_folder), folder, families="color", progress=None)
    return folder


@pytest.fixture(scope="module")
def outside(store: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Another model's predictions of both splits; the first have folds."""
    rng = np.random.default_rng(5)
    tables = []
    for split in ("train", "test"):
        patches = pcam.open_store(store).patches(split)
        score = expit(1.5 * patches["label"].fillna(0) - 0.7 + rng.normal(size=len(patches)))
        slides = np.unique(patches["slide"].astype(str), return_inverse=True)[1]
        tables.append(pd.DataFrame({"id": patches["id"], "label": score, "fold": slides % 4}))
    return tables[0], tables[1].drop(columns="fold")


@pytest.fixture(scope="module")
def blended(
    store: Path,
    outside: tuple[pd.DataFrame, pd.DataFrame],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A model fitted with outside predictions."""
    folder = tmp_path_factory.mktemp("blended")
    outside[0].sample(frac=1, random_state=0).to_csv(folder / "net_oof.csv", index=False)
    files = [f"net={folder / 'net_oof.csv'}"]
    pcam.fit(
        store,
        folder / "model",
        families="color",
        folds=3,
        threads=1,  # others wait for each other on busy cores
        outside=files,
        progress=None,
    )
    return folder / "model"


def test_oracle_a_models_combination_with_outside_predictions_by_hand(
    blended: Path, store: Path, outside: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    model = pcam.open_model(blended)
    manifest = model.bundle.manifest
    kept = model.out_of_fold
    assert list(kept) == ["color_trees", "color_kernel", "classical", "net", "combined"]
    labels = pcam.open_store(store).patches("train")["label"].to_numpy()
    net = outside[0].set_index("id").loc[kept.index]
    np.testing.assert_allclose(kept["net"], net["label"])
    for name in kept:
        auc = roc_auc_score(labels, kept[name])
        assert manifest.out_of_fold_auc[name].value == pytest.approx(auc, abs=1e-9), name
    added = {gain.part: gain.difference.value for gain in manifest.blend.gains}
    alone = {name: manifest.out_of_fold_auc[name].value for name in ("classical", "net", "combined")}
    assert added["classical"] == pytest.approx(alone["combined"] - alone["net"])
    assert added["net"] == pytest.approx(alone["combined"] - alone["classical"])

    test = pcam.open_store(store).patches("test")["id"].tolist()
    theirs = outside[1].set_index("id")["label"]
    found = model.predict_split(store, "test", outside={"net": theirs[::-1]}, progress=None)
    assert found.ids == test
    values = stored(pcam.open_store(store), "test", ["color"], keep=True)
    own = model.bundle.stack.together(model.bundle.logits(values, 1))
    combined = manifest.blend.stack
    together = combined.intercept + np.column_stack([own, logit(theirs[test])]) @ combined.weights
    p = expit(together)
    expected = expit(combined.low * np.log(p) - combined.high * np.log1p(-p) + combined.shift)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-9)
    assert found.cost.left_out == "those of net, part of the prediction"


def test_mechanics_a_model_with_outside_predictions_asks_for_them(
    blended: Path, store: Path, outside: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    model, theirs = pcam.open_model(blended), outside[1].set_index("id")["label"]
    plain = replace(model.bundle.manifest, outside=None, blend=None)
    without = pcam.Model(blended, replace(model.bundle, manifest=plain))
    refusals: list[tuple[pcam.Model, str, str]] = [
        (model, "needs them for these patches too; add outside= net=FILE", ""),
        (model, "those of other were given", "other"),
        (without, "fitted without outside predictions; leave out outside=", "net"),
    ]
    for opened, message, name in refusals:
        given = {name: theirs} if name else None
        with pytest.raises(InputError) as refusal:
            opened.predict_split(store, "test", outside=given)
        assert message in str(refusal.value)
        with pytest.raises(InputError):
            opened.probabilities(store, split="test", outside=given)
    with pytest.raises(InputError, match="2 of its ids are missing"):
        model.predict_split(store, "test", outside={"net": theirs[2:]})
    with pytest.raises(InputError, match="hold them already"):
        model.predict_split(store, "train", outside={"net": outside[0]})
    images = np.zeros((3, 96, 96, 3), np.uint8)
    p = model.predict_proba(images, outside={"net": np.array([0.1, 0.5, 0.9])}, progress=None)[:, 1]
    assert p[0] < p[1] < p[2]


def test_invariant_the_manifest_says_what_was_taken_and_older_pcam_refuses_it(
    blended: Path, tmp_path: Path
) -> None:
    content = json.loads((blended / "manifest.json").read_text())
    plain = replace(bundle.read_manifest(blended), outside=None, blend=None).to_dict()
    assert (content["bundle_version"], plain["bundle_version"]) == (7, 6)
    assert not {"outside", "blend"} & set(plain)
    assert bundle.read_manifest(blended).to_dict() == {k: v for k, v in content.items() if k != "sum"}
    (taken,) = content["outside"]["models"].values()
    assert taken["files"] == ["net_oof.csv"]
    assert taken["folds"] == 4
    model = pcam.open_model(blended)
    assert any(line.startswith("net adds ") for line in model.findings)
    assert "net adds " in model.card
    shutil.copytree(blended, tmp_path / "model")
    for change in (
        {"bundle_version": 6},
        {"blend": None},
        {"blend": content["blend"] | {"how": "best"}},
        {"blend": content["blend"] | {"weights": {"classical": 1, "other": 1}}},
        {"outside": {"shares": "equal", "models": {}}},
        {"outside": {"shares": "equal", "models": {"combined": taken}}},
        {"outside": content["outside"] | {"models": {"a\nb": taken}}},
    ):
        seal(tmp_path / "model", content | change)
        with pytest.raises(InputError, match=r"damaged|another version"):
            pcam.open_model(tmp_path / "model")


def test_mechanics_a_stopped_fit_is_not_continued_with_other_predictions_or_shares(
    store: Path, outside: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int) -> None:
        raise Stopped

    def run(table: pd.DataFrame, shares: str, progress: Any) -> None:
        pcam.fit(
            store,
            tmp_path / "model",
            families="color",
            folds=3,
            threads=1,
            outside={"net": table},
            shares=shares,
            progress=progress,
        )

    with pytest.raises(InputError, match="are for outside predictions"):
        pcam.fit(store, tmp_path / "model", shares="fitted")
    with pytest.raises(Stopped):
        run(outside[0], "equal", stop)
    other = outside[0].assign(label=outside[0]["label"] ** 2)
    for table, shares in ((other, "equal"), (outside[0], "fitted")):
        with pytest.raises(InputError, match="differs in outside"):
            run(table, shares, None)


def test_parity_a_models_folder_stands_for_its_out_of_fold_predictions(
    blended: Path, store: Path
) -> None:
    model, patches = pcam.open_model(blended), pcam.open_store(store).patches("train")
    truth = patches.set_index("id")["label"].astype(int)
    folds = pd.read_parquet(blended / "folds.parquet").set_index("id")["fold"]
    own = model.out_of_fold["combined"].rename("label").reset_index()
    own["fold"] = folds[own["id"]].to_numpy()
    trees = own.assign(label=model.out_of_fold["color_trees"].to_numpy())
    results = [
        pcam.blend(truth, {"model": one, "trees": trees}, features=store) for one in (str(blended), own)
    ]
    pd.testing.assert_frame_equal(results[0].scores, results[1].scores)
    pd.testing.assert_frame_equal(results[0].gains, results[1].gains)
