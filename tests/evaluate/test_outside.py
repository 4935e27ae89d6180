"""Predictions of other models are taken only if they are of these patches and out of fold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from pcam_features.errors import InputError
from pcam_features.evaluate.outside import Patches, check_unseen, read_outside

COUNT = 40
IDS = [f"p{k}" for k in range(COUNT)]
SLIDE = np.arange(COUNT) // 4
FOLD = SLIDE % 5
RNG = np.random.default_rng(0)
LABELS = (RNG.random(COUNT) < 0.5).astype(np.int8)
SCORES = np.round(expit(2.0 * LABELS - 1 + RNG.normal(size=COUNT)), 6)
PATCHES = Patches(IDS, LABELS, "split 'train' of store")


def table(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"id": IDS, "label": SCORES} | columns)


def written(folder: Path, frame: pd.DataFrame, name: str = "net.csv") -> str:
    frame.to_csv(folder / name, index=False)
    return str(folder / name)


def test_parity_a_column_of_folds_and_a_file_for_each_fold_are_the_same(tmp_path: Path) -> None:
    whole = table(fold=FOLD).sample(frac=1, random_state=0)
    (one,) = read_outside([f"net={written(tmp_path, whole)}"], PATCHES)
    files = [
        written(tmp_path, whole.loc[whole["fold"] == k, ["id", "label"]], f"f{k}.csv") for k in range(5)
    ]
    (several,) = read_outside([f"net={','.join(files)}"], PATCHES)
    np.testing.assert_array_equal(one.rows, SCORES[None])
    np.testing.assert_array_equal(several.rows, one.rows)
    for read in (one, several):
        assert pd.crosstab(read.fold, FOLD).astype(bool).to_numpy().sum() == 5  # one of each, no more
        assert read.folds == 5


def test_oracle_seeds_are_averaged_in_log_odds(tmp_path: Path) -> None:
    other = np.clip(SCORES + 0.05, 0, 0.99)
    files = [
        written(tmp_path, table(fold=FOLD), "a.csv"),
        written(tmp_path, table(fold=FOLD).assign(label=other), "b.csv"),
    ]
    (read,) = read_outside([f"net={','.join(files)}"], PATCHES)
    np.testing.assert_allclose(read.log_odds, (logit(SCORES) + logit(other)) / 2)
    frame = pd.DataFrame({"id": IDS, "seed_0": SCORES, "seed_1": other, "Fold": FOLD})
    (columns,) = read_outside({"net": frame}, PATCHES)
    np.testing.assert_allclose(columns.log_odds, read.log_odds)
    np.testing.assert_array_equal(columns.fold, read.fold)


def test_mechanics_certain_predictions_are_counted_and_finite() -> None:
    certain = SCORES.copy()
    certain[:3] = (0.0, 1.0, 1e-9)
    (read,) = read_outside({"net": pd.Series(certain, IDS)}, PATCHES)
    assert np.abs(read.log_odds).max() == pytest.approx(np.log(1e6 - 1))
    assert any(
        note.startswith("3 probabilities of net are within 1e-06 of 0 or 1") for note in read.notes
    )


REFUSED: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {
    "missing": (
        lambda: table(fold=FOLD).iloc[3:],
        "do not match split 'train' of store: 3 of its ids are missing, the first p0, and 0 are not",
    ),
    "extra": (
        lambda: pd.concat([table(fold=FOLD), table(fold=FOLD)[:2].assign(id=["x", "y"])]),
        "0 of its ids are missing and 2 are not in it, the first 'x'",
    ),
    "truth": (lambda: table().assign(label=LABELS * 0.8 + 0.1), "equals the truth"),
    "classes": (lambda: table().assign(label=LABELS), "hold only 0 and 1"),
    "not a number": (
        lambda: table().assign(label=np.where(np.arange(COUNT) == 7, np.nan, SCORES)),
        "p7",
    ),
    "no fold of one": (
        lambda: table(fold=[None, *FOLD[1:]]),
        "have no fold for 1 patch; fill in the column fold",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mechanics_what_is_not_a_prediction_of_these_patches_is_refused(
    case: str, tmp_path: Path
) -> None:
    make, message = REFUSED[case]
    with pytest.raises(InputError) as refusal:
        read_outside([f"net={written(tmp_path, make())}"], PATCHES)
    assert message in str(refusal.value)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize("name", ["", "a b", "combined", "../x", "=1", "a\nb", "x" * 61])
def test_mechanics_names_that_cannot_name_a_column_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="give another as NAME=FILE"):
        read_outside({name: pd.Series(SCORES, IDS)}, PATCHES, taken=("combined",))


def test_mechanics_predictions_of_models_that_may_have_seen_the_patches_are_asked_about() -> None:
    (unknown,) = read_outside({"net": table()}, PATCHES)
    (known,) = read_outside({"net": table(fold=FOLD)}, PATCHES)
    (torn,) = read_outside({"net": table(fold=np.arange(COUNT) % 5)}, PATCHES)
    (same,) = read_outside({"net": table(fold=0)}, PATCHES)
    check_unseen([known], SLIDE, vouched=False)
    check_unseen([known, unknown], SLIDE, vouched=True)
    with pytest.raises(InputError, match="state with --vouch"):
        check_unseen([known, unknown], SLIDE, vouched=False)
    with pytest.raises(InputError, match="divide 10 of 10 groups"):
        check_unseen([torn], SLIDE, vouched=True)  # what the folds show is not a matter of trust
    with pytest.raises(InputError, match="only one fold"):
        check_unseen([same], SLIDE, vouched=True)
