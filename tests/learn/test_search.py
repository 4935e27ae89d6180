"""A search keeps its trials, goes on where it was, and is believed only where it was not chosen."""

from __future__ import annotations

import gc
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
import pytest
from conftest import Result
from sklearn.metrics import roc_auc_score

from pcam_features.errors import InputError, PcamError
from pcam_features.grouping.folds import Folds
from pcam_features.learn import search
from pcam_features.learn.base_models import KERNEL, TREES
from pcam_features.learn.context import FitContext
from pcam_features.learn.manifest import SearchRecord
from pcam_features.learn.settings import Compute, Settings
from pcam_features.learn.steps import Work
from pcam_features.store.values import of_arrays

Run = Callable[..., Result]
ROWS = 400


def find(folder: Path, trials: int) -> tuple[Settings, dict[str, SearchRecord], int]:
    """What a search finds in a folder, and how often it spoke of progress."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(ROWS, 8)).astype(np.float32)
    labels = (values[:, 0] * values[:, 1] + rng.normal(0, 0.3, ROWS) > 0).astype(np.int8)
    fold = (np.arange(ROWS) % 3).astype(np.int16)
    folds = Folds(np.arange(ROWS), fold, 3, "each alone")
    folder.mkdir(exist_ok=True)
    told: list[int] = []
    context = FitContext(
        Work(folder),
        of_arrays({"x": values}),
        labels,
        folds,
        Compute("cpu", 1, 0),
        progress=told.append,
    )
    settings, found = search.search(context, trials)
    return settings, found, sum(told)


def trials_of(folder: Path, kind: str) -> list[optuna.trial.FrozenTrial]:
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    with search.opened_storage(f"sqlite:///{folder / search.SEARCH}") as storage:
        return optuna.load_study(study_name=kind, storage=storage).get_trials(states=ended)


@pytest.mark.parametrize("stop", [2, 11])  # folds: in the first trial, and in the fourth
def test_mechanics_a_stopped_search_goes_on_as_if_it_had_not_been(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "STARTED", 3)  # so that trials follow from others
    whole, said, told = find(tmp_path / "whole", 6)
    assert told == 12

    class Stopped(BaseException):
        pass

    scored = search.tree_score

    def stops(context: FitContext) -> search.Score:
        score, calls = scored(context), [0]

        def once(settings: Settings, k: int) -> float:
            calls[0] += 1
            if calls[0] == stop:
                raise Stopped
            return score(settings, k)

        return once

    with monkeypatch.context() as patch:
        patch.setitem(search.SCORES, TREES, stops)
        with pytest.raises(Stopped):
            find(tmp_path / "stopped", 6)
    ended = len(trials_of(tmp_path / "stopped", TREES))
    assert ended == 0 if stop == 2 else 3 <= ended < 6
    again, said_again, _ = find(tmp_path / "stopped", 6)
    assert again == whole
    for kind in (TREES, KERNEL):
        known, resumed = (trials_of(tmp_path / name, kind) for name in ("whole", "stopped"))
        assert [trial.params for trial in known] == [trial.params for trial in resumed]
        assert [trial.values for trial in known] == [trial.values for trial in resumed]
        assert said[kind].best == said_again[kind].best
    before = (tmp_path / "whole" / search.SEARCH).stat().st_mtime_ns
    assert find(tmp_path / "whole", 6)[0] == whole
    assert (tmp_path / "whole" / search.SEARCH).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trial_values SET value = value + 0.25 WHERE trial_id = 3",
        "UPDATE trial_params SET param_value = param_value + 1 WHERE trial_id = 2",
        "UPDATE trial_intermediate_values SET intermediate_value = 0.75 WHERE trial_id = 4",
        "UPDATE studies SET study_name = study_name",
    ],
)
def test_regression_a_changed_trial_is_made_again(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "STARTED", 3)
    whole, said, _ = find(tmp_path / "search", 6)
    known = {kind: trials_of(tmp_path / "search", kind) for kind in (TREES, KERNEL)}
    with closing(sqlite3.connect(tmp_path / "search" / search.SEARCH)) as file:
        assert file.execute(change).rowcount
        file.commit()
    again, said_again, _ = find(tmp_path / "search", 6)
    assert (again, said_again) == (whole, said)
    for kind, trials in known.items():
        resumed = trials_of(tmp_path / "search", kind)
        assert [trial.params for trial in resumed] == [trial.params for trial in trials]
        assert [trial.values for trial in resumed] == [trial.values for trial in trials]


def test_mechanics_the_first_trial_is_what_needs_no_search(tmp_path: Path) -> None:
    settings, said, _ = find(tmp_path / "one", 1)
    assert settings == Settings()
    for kind in (TREES, KERNEL):
        (trial,) = trials_of(tmp_path / "one", kind)
        assert trial.params == search.parameters(Settings(), kind)
        assert said[kind].taken is False


def study(scores: list[list[float]]) -> optuna.Study:
    """A study of made-up trials; the first is the default."""
    made = optuna.create_study(direction="maximize")
    for k, of_folds in enumerate(scores):
        parameters = {"width": 0.1 * (k + 1), "penalty": 0.1}
        made.add_trial(
            optuna.create_trial(
                params=parameters,
                distributions=search.DISTRIBUTIONS[KERNEL],
                value=float(np.mean(of_folds)),
                user_attrs={search.OF_FOLDS: of_folds},
            )
        )
    return made


def test_oracle_what_is_best_by_luck_in_one_fold_is_not_taken() -> None:
    lucky = [[0.80, 0.80, 0.80], [0.95, 0.78, 0.78], [0.78, 0.95, 0.78]]
    settings, said = search.verdict(study(lucky), KERNEL)
    # Without the first fold the third is best, which has 0.78 there, and so on; by hand:
    np.testing.assert_allclose(said.nested, np.mean([0.78, 0.78, 0.78]))
    assert said.taken is False
    np.testing.assert_allclose(settings.width, 0.1)
    better = [[0.80, 0.80, 0.80], [0.83, 0.82, 0.84], [0.81, 0.80, 0.82]]
    settings, said = search.verdict(study(better), KERNEL)
    np.testing.assert_allclose(said.nested, np.mean(better[1]))
    assert said.taken is True
    np.testing.assert_allclose(settings.width, 0.2)


def test_oracle_a_trial_is_worth_its_mean_auc_over_folds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = of_arrays({"x": rng.normal(size=(ROWS, 4)).astype(np.float32)})
    labels, fold = rng.integers(0, 2, ROWS).astype(np.int8), np.arange(ROWS) % 3
    folds = Folds(np.arange(ROWS), fold.astype(np.int16), 3, "each alone")
    context = FitContext(Work(tmp_path), values, labels, folds, Compute("cpu", 1, 0))
    for score in (search.tree_score(context), search.kernel_score(context)):
        assert 0.3 < score(Settings(), 0) < 0.7
        assert score(Settings(), 1) != score(Settings(), 2)
    from pcam_features.learn import nystroem

    ready = nystroem.prepare(values, ["x"], labels, folds.fold, seed=0)
    expected = roc_auc_score(
        labels[fold == 1], nystroem.across(ready, values, ["x"], folds.fold)[fold == 1]
    )
    np.testing.assert_allclose(search.kernel_score(context)(Settings(), 1), expected)


def test_mechanics_a_fold_of_one_class_is_left_out_of_a_search(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    known = of_arrays({"x": rng.normal(size=(ROWS, 4)).astype(np.float32)})
    labels, fold = rng.integers(0, 2, ROWS).astype(np.int8), (np.arange(ROWS) % 4).astype(np.int16)
    labels[fold == 3] = 0
    folds, compute = Folds(np.arange(ROWS), fold, 4, "each alone"), Compute("cpu", 1, 0)
    _, found = search.search(FitContext(Work(tmp_path), known, labels, folds, compute), 1)
    for kind in (TREES, KERNEL):
        (trial,) = trials_of(tmp_path, kind)
        assert len(trial.user_attrs[search.OF_FOLDS]) == 3
        assert np.isfinite(found[kind].nested)
    labels[fold > 0] = 0
    with pytest.raises(InputError, match="two folds with both classes"):
        search.search(FitContext(Work(tmp_path), known, labels, folds, compute), 1)


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # Optuna leaves it open
def test_mechanics_a_damaged_search_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / search.SEARCH).write_bytes(b"not a database" * 100)
    known = of_arrays({"x": np.zeros((30, 2), np.float32)})
    labels, fold = np.tile([0, 1], 15).astype(np.int8), (np.arange(30) % 3).astype(np.int16)
    folds, compute = Folds(np.arange(30), fold, 3, "each alone"), Compute("cpu", 1, 0)
    with pytest.raises(PcamError, match="search cannot use"):
        search.search(FitContext(Work(tmp_path), known, labels, folds, compute), 1)
    gc.collect()


def test_mechanics_fit_searches_and_says_what_it_found(
    pcam: Run, store_folder: Path, tmp_path: Path
) -> None:
    options = ["--families", "lbp", "--folds", 3, "--trials", 2, "--json"]
    result = pcam("fit", store_folder, tmp_path / "model", *options)
    assert result.code == 0, result.err
    found = json.loads(result.out)["search"]
    assert set(found) == {TREES, KERNEL}
    for one in found.values():
        assert one["trials"] == 2
        assert one["best"] >= one["default"]
    assert (tmp_path / "model" / search.SEARCH).is_file()
    assert "search for trees" in pcam("model", tmp_path / "model").out
