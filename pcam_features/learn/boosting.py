"""Gradient-boosted trees: XGBoost, with settings that need no search.

Features are binned block by block, for each fold from its training patches alone (DECISIONS.md says
what else was tried).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import xgboost

from ..errors import InputError
from ..evaluate.intervals import auc
from ..storage.files import whole_file
from ..store.values import Values
from . import ubjson
from .context import FitContext
from .safe_files import read_content
from .settings import PARAMETERS, ROUNDS

KIND = "trees"
CHECKED = 20  # rounds between two tree counts that the folds choose from
# A booster configures itself anew after `set_param`; two threads that do so at once break each other.
# The lock is not a field of the model, so that models can be pickled and copied.
ONE_AT_A_TIME = Lock()


class _Blocks(xgboost.DataIter):
    """Blocks for XGBoost, which reads them several times; its files' names begin with `pages`."""

    def __init__(self, blocks: Callable[[], Iterator[tuple[Any, np.ndarray]]], pages: Path | None):
        self._open = blocks
        self._left = blocks()
        super().__init__(cache_prefix=None if pages is None else str(pages))

    def next(self, input_data: Callable[..., Any]) -> bool:
        for block, labels in self._left:
            input_data(data=block, label=labels)
            return True
        return False

    def reset(self) -> None:
        self._left = self._open()


def binned(
    values: Values,
    families: Sequence[str],
    labels: np.ndarray,
    within: np.ndarray,
    *,
    threads: int,
    xp: Any = np,
    pages: Path | None = None,
) -> xgboost.DMatrix:
    """Bin the families' columns of some rows, one byte per value.

    Parameters
    ----------
    values, families
        The columns.
    labels
        0 or 1, (rows,).
    within
        Which rows to take, a mask (rows,).
    threads
        Number of threads.
    xp
        NumPy, or CuPy to bin on the graphics card.
    pages
        The beginning of the names of files to keep bins in; None keeps them in memory.
    """

    def blocks() -> Iterator[tuple[Any, np.ndarray]]:
        for rows, block in values.blocks(families):
            own = within[rows]
            if own.any():
                yield xp.asarray(block if own.all() else block[own]), labels[rows][own]

    iterator, bins = _Blocks(blocks, pages), PARAMETERS["max_bin"]
    if pages is None:
        return xgboost.QuantileDMatrix(iterator, max_bin=bins, nthread=threads)
    return xgboost.ExtMemQuantileDMatrix(iterator, max_bin=bins, nthread=threads)


def train(
    matrix: xgboost.DMatrix,
    *,
    device: str,
    threads: int,
    seed: int,
    rounds: int = ROUNDS,
    parameters: Mapping[str, Any] = PARAMETERS,
) -> xgboost.Booster:
    """Train a booster on a binned matrix."""
    given = dict(parameters) | {"device": device, "nthread": threads, "seed": seed}
    return xgboost.train(given, matrix, num_boost_round=rounds)


def counts(rounds: int) -> np.ndarray:
    """The tree counts that the folds choose from: every CHECKED-th, and all."""
    return np.append(np.arange(CHECKED, rounds, CHECKED), rounds)


def margins(
    booster: xgboost.Booster,
    values: Values,
    families: Sequence[str],
    within: np.ndarray,
    *,
    threads: int,
) -> np.ndarray:
    """Log-odds of the rows `within` (a mask) after each of `counts`, float32 (rows, counts)."""
    booster.set_param({"nthread": threads, "device": "cpu"})
    after = counts(booster.num_boosted_rounds())
    scores = np.empty((int(within.sum()), len(after)), np.float32)
    done = 0
    for rows, block in values.blocks(families):
        own = block[within[rows]]
        for k, count in enumerate(after if len(own) else ()):
            scores[done : done + len(own), k] = booster.inplace_predict(
                own, predict_type="margin", iteration_range=(0, int(count))
            )
        done += len(own)
    return scores


def tree_count(labels: np.ndarray, margins: np.ndarray, rounds: int) -> int:
    """The tree count at which margins (rows, counts) rank best."""
    return int(counts(rounds)[np.argmax([auc(labels, column) for column in margins.T])])


def across_counts(
    labels: np.ndarray, fold: np.ndarray, margins: np.ndarray, rounds: int
) -> tuple[np.ndarray, int]:
    """Choose the number of trees by cross-validation.

    Returns the out-of-fold log-odds (rows,) and the tree count that is best for all rows. Each fold's
    log-odds are those after as many trees as are best for the other folds, so that no fold's count is
    chosen by its own score. (The boosters of other folds have seen this fold's patches, as always when
    models are stacked across folds.)
    """
    scores = np.empty(len(labels))
    for k in np.unique(fold):
        own = fold == k
        best = tree_count(labels[~own], margins[~own], rounds)
        scores[own] = margins[own, np.searchsorted(counts(rounds), best)]
    return scores, tree_count(labels, margins, rounds)


@dataclass(frozen=True)
class BoostedTrees:
    """Gradient-boosted trees as a base model."""

    booster: xgboost.Booster

    @property
    def width(self) -> int:
        """Number of columns that the model takes."""
        return int(self.booster.num_features())

    @property
    def parameters(self) -> int:
        """Number of nodes of all trees."""
        return len(self.booster.trees_to_dataframe())

    def margin(self, values: np.ndarray, threads: int = 1) -> np.ndarray:
        """Log-odds of label 1, float64 (rows,), from float32 (rows, width)."""
        with ONE_AT_A_TIME:
            self.booster.set_param({"nthread": threads, "device": "cpu"})
            scores = self.booster.inplace_predict(values, predict_type="margin")
        return np.asarray(scores, np.float64)

    def contributions(self, values: np.ndarray) -> tuple[np.ndarray, float]:
        """SHAP values of the log-odds, float64 (rows, width), and the expected log-odds.

        Computed by XGBoost's TreeSHAP (S. M. Lundberg et al., "From local explanations to global
        understanding with explainable AI for trees", Nature Machine Intelligence 2020), relative to the
        training patches.
        """
        with ONE_AT_A_TIME:
            self.booster.set_param({"device": "cpu"})
            parts = self.booster.predict(xgboost.DMatrix(values), pred_contribs=True)
        shares = parts.astype(np.float64)
        return shares[:, :-1], float(shares[0, -1])

    def gains(self) -> np.ndarray:
        """Each column's share of the gain of all splits, (width,)."""
        gained = self.booster.get_score(importance_type="total_gain")
        total = sum(np.mean(gain) for gain in gained.values())
        shares = np.zeros(self.width)
        for feature, gain in gained.items():
            shares[int(feature[1:])] = float(np.mean(gain)) / total
        return shares

    def moments(self) -> None:
        """None: trees do not keep means and deviations."""

    @staticmethod
    def files(folder: Path, group: str) -> list[Path]:
        """The one file of a group's trees."""
        return [booster_path(folder, group)]

    def save(self, folder: Path, group: str) -> None:
        """Write the trees in XGBoost's own format."""
        with whole_file(booster_path(folder, group)) as temporary:
            temporary.write_bytes(bytes(self.booster.save_raw("ubj")))

    @classmethod
    def load(cls, folder: Path, group: str) -> BoostedTrees:
        """Read the trees of a group. Raises InputError if the file holds anything else."""
        file = booster_path(folder, group)
        content = read_content(folder, file)
        try:
            ubjson.check(content)
            booster = xgboost.Booster(model_file=bytearray(content))
            check_trees(json.loads(booster.save_raw("json")), booster.num_features())
        except (KeyError, TypeError, ValueError, xgboost.core.XGBoostError):
            raise InputError(f"model {folder}: {file.name} is not an XGBoost model.") from None
        return cls(booster)

    @classmethod
    def fit(
        cls, context: FitContext, group: str, families: Sequence[str]
    ) -> tuple[BoostedTrees, np.ndarray]:
        """Fit to all rows; returns the model and its out-of-fold log-odds, (rows,)."""
        fold, rounds = context.fold, context.settings.rounds

        def train_on(within: np.ndarray, name: str, rounds: int) -> xgboost.Booster:
            matrix = bin_rows(context, families, within, f"{group}-{name}")
            return boost(context, matrix, rounds)

        def out_of_fold(k: int) -> np.ndarray:
            booster = train_on(fold != k, f"fold-{k}", rounds)
            threads = context.compute.threads
            return margins(booster, context.values, families, fold == k, threads=threads)

        scores = np.empty((context.values.rows, len(counts(rounds))), np.float32)
        for k in range(int(fold.max()) + 1):
            scores[fold == k] = context.work.array(f"{group}_{KIND}-fold-{k}", partial(out_of_fold, k))
            context.progress(len(families))
        log_odds, count = across_counts(context.labels, fold, scores, rounds)
        everything = np.ones(context.values.rows, bool)
        model = context.work.model(cls, group, lambda: cls(train_on(everything, "all", count)))
        context.progress(len(families))
        return model, log_odds


def bin_rows(
    context: FitContext, families: Sequence[str], within: np.ndarray, name: str
) -> xgboost.DMatrix:
    """Bin the rows `within` (a mask); bins on disk are in files of this name."""
    compute = context.compute
    pages = context.work.pages(name) if compute.on_disk else None
    return binned(
        context.values,
        families,
        context.labels,
        within,
        threads=compute.threads,
        xp=compute.xp,
        pages=pages,
    )


def boost(
    context: FitContext,
    matrix: xgboost.DMatrix,
    rounds: int,
    parameters: Mapping[str, Any] | None = None,
) -> xgboost.Booster:
    """Train a booster as the context says, or with other XGBoost `parameters`."""
    return train(
        matrix,
        device=context.compute.device,
        threads=context.compute.threads,
        seed=context.compute.seed,
        rounds=rounds,
        parameters=context.settings.trees if parameters is None else parameters,
    )


def booster_path(folder: Path, group: str) -> Path:
    """The file of a group's trees."""
    return folder / group / f"{KIND}.ubj"


def check_trees(model: dict[str, Any], columns: int) -> None:
    """Raises ValueError unless an XGBoost model, in its JSON form, is trees that end and ask only
    for the `columns` there are: XGBoost follows any number to wherever it points."""
    booster, given = model["learner"]["gradient_booster"], model["learner"]["learner_model_param"]
    trees = booster["model"]["trees"]
    single = (given["num_class"], given["num_target"]) == ("0", "1") and booster["name"] == "gbtree"
    if (
        not single
        or any(booster["model"]["tree_info"])
        or booster["model"]["iteration_indptr"] != list(range(len(trees) + 1))
    ):
        raise ValueError("not one tree of one output after the other")
    for tree in trees:
        left, right, parents, asked, kinds = (
            np.array(tree[key], np.int64)
            for key in ("left_children", "right_children", "parents", "split_indices", "split_type")
        )
        count = int(tree["tree_param"]["num_nodes"])
        lengths = {len(one) for one in (left, right, parents, asked, kinds, tree["split_conditions"])}
        if lengths != {count} or not count or kinds.any() or tree["categories"]:
            raise ValueError("a tree of another kind")
        inner = np.flatnonzero((left != -1) | (right != -1))
        for child in (left[inner], right[inner]):
            # The root is nobody's child and every other node has one parent: no path comes back.
            if ((child <= 0) | (child >= count)).any() or (parents[child] != inner).any():
                raise ValueError("a tree whose nodes point elsewhere")
        if ((asked < 0) | (asked >= columns))[inner].any():
            raise ValueError("a tree that asks for a column there is not")
