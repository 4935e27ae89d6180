"""Gradient-boosted trees: XGBoost, trained on one block of columns at a time.

XGBoost fills the histograms of all columns at every node, although a node may split on only a few of
them. Here the columns are dealt at random into blocks. A few trees are grown on each block, starting
from the log-odds of the trees before them, block after block and round again. That costs a fraction of
trees on all columns, and ranks as well (DECISIONS.md has the figures). The trees are then put together
into one ordinary XGBoost model of all columns.

The columns are binned once for all folds; a fold's own patches have a weight of 0 while its model is
trained. So only the limits between bins come from the fold's own patches too, never their labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from .settings import PARAMETERS, ROUNDS, Compute

KIND = "trees"
CHECKED = 20  # rounds between two tree counts that the folds choose from; a multiple of AT_ONCE
COLUMNS = 190  # of a block, about
AT_ONCE = 2  # trees of a block, before the next block's turn
GATHERED = 2**30  # bytes of columns that one pass over the features puts together
# A booster configures itself anew after `set_param`; two threads that do so at once break each other.
# The lock is not a field of the model, so that models can be pickled and copied.
ONE_AT_A_TIME = Lock()


@dataclass(frozen=True)
class Block:
    """Some columns, binned for all rows: one byte per value.

    Parameters
    ----------
    columns
        Their places among the columns of the model, (block's columns,).
    bins
        Their values and the labels.
    """

    columns: np.ndarray
    bins: xgboost.DMatrix


class _InParts(xgboost.DataIter):
    """Rows for XGBoost, part by part; it keeps bins in files whose names begin with `pages`."""

    def __init__(self, values: np.ndarray, labels: np.ndarray, pages: Path, rows: int = 65536):
        self._values, self._labels = values, labels
        self._starts, self._rows, self._at = range(0, len(values), rows), rows, 0
        super().__init__(cache_prefix=str(pages))

    def next(self, input_data: Callable[..., Any]) -> bool:
        if self._at == len(self._starts):
            return False
        part = slice(self._starts[self._at], self._starts[self._at] + self._rows)
        input_data(data=self._values[part], label=self._labels[part])
        self._at += 1
        return True

    def reset(self) -> None:
        self._at = 0


def deal(width: int, seed: int) -> list[np.ndarray]:
    """Deal columns at random into blocks of nearly the same size, about COLUMNS each.

    Columns of different families have to meet in a block: trees of one family at a time rank worse.
    """
    count = max(1, round(width / COLUMNS))
    shuffled = np.random.default_rng(seed).permutation(width)
    return [np.sort(block) for block in np.array_split(shuffled, count)]


def gather(
    values: Values, families: Sequence[str], dealt: Sequence[np.ndarray], room: int
) -> Iterator[np.ndarray]:
    """The values of each block, float32 (rows, its columns), in as few passes as `room` bytes allow."""
    largest = max(len(columns) for columns in dealt)
    at_once = max(1, room // (4 * values.rows * largest))
    for start in range(0, len(dealt), at_once):
        some = dealt[start : start + at_once]
        arrays = [np.empty((values.rows, len(columns)), np.float32) for columns in some]
        for rows, block in values.blocks(families):
            for array, columns in zip(arrays, some, strict=True):
                array[rows] = block[:, columns]
        while arrays:  # an array that is binned need not stay in memory
            yield arrays.pop(0)


def binned(
    values: Values,
    families: Sequence[str],
    labels: np.ndarray,
    compute: Compute,
    *,
    pages: Path | None = None,
) -> list[Block]:
    """Deal the families' columns into blocks, and bin each block.

    Parameters
    ----------
    values, families
        The columns.
    labels
        0 or 1, (rows,).
    compute
        Where bins are made, and the seed of the dealing.
    pages
        The beginning of the names of files to keep bins in; None keeps them in memory.
    """
    dealt = deal(values.width(families), compute.seed)
    how = {"max_bin": PARAMETERS["max_bin"], "nthread": compute.threads}
    blocks = []
    room = GATHERED if pages is None else 0  # one block at a time
    for k, array in enumerate(gather(values, families, dealt, room)):
        if pages is None:
            bins: xgboost.DMatrix = xgboost.QuantileDMatrix(compute.xp.asarray(array), labels, **how)
        else:
            parts = _InParts(array, labels, pages.with_name(f"{pages.name}-{k}"))
            bins = xgboost.ExtMemQuantileDMatrix(parts, **how)
        blocks.append(Block(dealt[k], bins))
    return blocks


@dataclass(frozen=True)
class Grown:
    """Trees that were grown one after the other.

    Parameters
    ----------
    booster
        All of them in one model.
    margins
        Log-odds of every row after each of `counts`, float32 (rows, counts).
    """

    booster: xgboost.Booster
    margins: np.ndarray


def grow(
    blocks: Sequence[Block],
    within: np.ndarray,
    compute: Compute,
    *,
    rounds: int = ROUNDS,
    parameters: Mapping[str, Any] = PARAMETERS,
) -> Grown:
    """Grow trees on some rows, AT_ONCE on each block in turn.

    Parameters
    ----------
    blocks
        The binned columns.
    within
        Which rows to learn from, a mask (rows,). The others have a weight of 0.
    compute
        Where to compute, and the seed.
    rounds
        The number of trees.
    parameters
        XGBoost's parameters.
    """
    labels = blocks[0].bins.get_label()
    # Not quite the share of positives, so that it is neither 0 nor 1 if there is only one class.
    share = np.float32((labels[within].sum() + 0.5) / (within.sum() + 1))
    given = dict(parameters) | {"device": compute.device, "nthread": compute.threads}
    given["base_score"] = float(share)
    weight = within.astype(np.float32)
    for block in blocks:
        block.bins.set_weight(weight)
    margin = np.full(len(labels), -np.log(1 / share - 1), np.float32)
    checked, after = counts(rounds), []
    trees: list[dict[str, Any]] = []
    for turn, start in enumerate(range(0, rounds, AT_ONCE)):
        block, end = blocks[turn % len(blocks)], min(start + AT_ONCE, rounds)
        block.bins.set_base_margin(margin)
        given["seed"] = compute.seed + turn
        booster = xgboost.train(given, block.bins, num_boost_round=end - start)
        margin = booster.predict(block.bins, output_margin=True)
        if end in checked:
            after.append(margin)
        model = json.loads(booster.save_raw("json"))
        own = model["learner"]["gradient_booster"]["model"]["trees"]
        trees += [moved(tree, block.columns) for tree in own]
    width = sum(len(block.columns) for block in blocks)
    return Grown(joined(model, trees, width), np.stack(after, axis=1))


def moved(tree: dict[str, Any], columns: np.ndarray) -> dict[str, Any]:
    """A tree of a block, in XGBoost's JSON form, that asks for these columns of the whole."""
    return tree | {"split_indices": columns[tree["split_indices"]].tolist()}


def joined(model: dict[str, Any], trees: Sequence[dict[str, Any]], width: int) -> xgboost.Booster:
    """One model of `width` columns from trees, in XGBoost's JSON form.

    Parameters
    ----------
    model
        A model of one of the trees. All have its objective and its base score.
    trees
        The trees in the order of their growth.
    width
        The number of columns.
    """
    learner = model["learner"]
    learner["learner_model_param"]["num_feature"] = str(width)
    inner = learner["gradient_booster"]["model"]
    inner["gbtree_model_param"]["num_trees"] = str(len(trees))
    inner["tree_info"] = [0] * len(trees)
    inner["iteration_indptr"] = list(range(len(trees) + 1))
    inner["trees"] = [
        tree | {"id": k, "tree_param": tree["tree_param"] | {"num_feature": str(width)}}
        for k, tree in enumerate(trees)
    ]
    return xgboost.Booster(model_file=bytearray(json.dumps(model).encode()))


def counts(rounds: int) -> np.ndarray:
    """The tree counts that the folds choose from: every CHECKED-th, and all."""
    return np.append(np.arange(CHECKED, rounds, CHECKED), rounds)


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
        with whole_file(booster_path(folder, group), folder) as temporary:
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
        growth = Growth(context, group, families, group)
        scores = np.empty((context.values.rows, len(counts(rounds))), np.float32)
        for k in range(int(fold.max()) + 1):
            scores[fold == k] = growth.of_fold(k)
            context.progress(len(families))
        log_odds, count = across_counts(context.labels, fold, scores, rounds)
        everything = np.ones(context.values.rows, bool)

        def on_all() -> BoostedTrees:
            return cls(grow_as_set(context, growth.blocks, everything, count).booster)

        model = context.work.model(cls, group, on_all)
        context.progress(len(families))
        return model, log_odds


@dataclass
class Growth:
    """The growing of the trees of a fit, fold by fold.

    Parameters
    ----------
    context, group, families
        See `protocol.BaseModel.fit`.
    pages
        Name of the files for bins on disk.
    """

    context: FitContext
    group: str
    families: Sequence[str]
    pages: str

    @cached_property
    def blocks(self) -> list[Block]:
        """All rows, binned."""
        return bin_all(self.context, self.families, self.pages)

    def of_fold(self, k: int) -> np.ndarray:
        """The log-odds of the rows of fold k by trees of the others, for each count of trees.

        float32 (rows of the fold, counts): a step of the fit.
        """
        context, fold, rounds = self.context, self.context.fold, self.context.settings.rounds

        def out_of_fold() -> np.ndarray:
            grown = grow_as_set(context, self.blocks, fold != k, rounds)
            return np.asarray(grown.margins[fold == k])

        shape = (int((fold == k).sum()), len(counts(rounds)))
        return context.work.array(f"{self.group}_{KIND}-fold-{k}", out_of_fold, shape, "<f4")


def bin_all(context: FitContext, families: Sequence[str], name: str) -> list[Block]:
    """Bin all rows of a fit; bins on disk are in files of this name."""
    compute = context.compute
    pages = context.work.pages(name) if compute.on_disk else None
    return binned(context.values, families, context.labels, compute, pages=pages)


def grow_as_set(context: FitContext, blocks: Sequence[Block], within: np.ndarray, rounds: int) -> Grown:
    """Grow trees as the settings of a fit say."""
    return grow(blocks, within, context.compute, rounds=rounds, parameters=context.settings.trees)


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
