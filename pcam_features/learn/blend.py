"""Combining whole models: the classical one and others' predictions, or others' predictions alone.

Each part has a share of the standardized log-odds, as base models have theirs in `stack`. Shares are
equal unless fitted ones are asked for. Two or three numbers can be learned, but from predictions that
nobody here can verify, and the most optimistic part would have the largest share (DECISIONS.md has
figures). Both ways are scored across folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from ..constants import Shares
from ..errors import InputError
from ..evaluate.gains import Gain, gains
from ..evaluate.intervals import Estimate, auc, auc_intervals
from ..evaluate.outside import NAME, OutsidePredictions
from ..storage.fields import Fields
from ..storage.files import sha256
from ..words import one_line, quoted
from .stack import PLAIN, Stack, calibrate, logistic, needs_calibration

CLASSICAL = "classical"  # the part of a model that is fitted here
MOST_FILES = 1000  # of one outside model


@dataclass(frozen=True)
class Parts:
    """The parts of a combination.

    Parameters
    ----------
    names
        Their names.
    log_odds
        The log-odds that each gives the patches, (rows, parts).
    folds
        The fold of each patch by each part, (rows, parts). A part's deviation is that within its folds:
        models of different folds have different means, which tell nothing of a patch.
    """

    names: tuple[str, ...]
    log_odds: np.ndarray
    folds: np.ndarray

    @classmethod
    def of(cls, outside: Sequence[OutsidePredictions]) -> Parts:
        """The parts that predictions make up; those without folds are one fold."""
        rows = outside[0].rows.shape[1]
        folds = [np.zeros(rows, np.int64) if one.fold is None else one.fold for one in outside]
        return cls(
            tuple(one.name for one in outside),
            np.column_stack([one.log_odds for one in outside]),
            np.column_stack(folds),
        )

    def with_first(self, name: str, log_odds: np.ndarray, fold: np.ndarray) -> Parts:
        """These parts after another, given by its log-odds and folds, (rows,) each."""
        return Parts(
            (name, *self.names),
            np.column_stack([log_odds, self.log_odds]),
            np.column_stack([fold, self.folds]),
        )

    def at(self, rows: np.ndarray) -> Parts:
        """The parts on some patches."""
        return Parts(self.names, self.log_odds[rows], self.folds[rows])

    def without(self, part: int) -> Parts:
        """All parts but one, given by its place."""
        kept = [k for k in range(len(self.names)) if k != part]
        names = tuple(self.names[k] for k in kept)
        return Parts(names, self.log_odds[:, kept], self.folds[:, kept])

    def spreads(self) -> np.ndarray:
        """The deviation of each part's log-odds within its folds, (parts,)."""
        variances = []
        for values, fold in zip(self.log_odds.T, self.folds.T, strict=True):
            codes = np.unique(fold, return_inverse=True)[1]
            sizes = np.bincount(codes)
            means = np.bincount(codes, values) / sizes
            variances.append(np.mean((values - means[codes]) ** 2))
        return np.sqrt(variances)


def shares_of(parts: Parts, labels: np.ndarray, how: Shares) -> np.ndarray:
    """The share of each part, (parts,), which add up to 1.

    Fitted shares are the weights, none negative, of a logistic regression on standardized log-odds. A
    part that does not vary has no share.

    Raises
    ------
    InputError
        If no part ranks patches better than chance, so that there are no shares to fit.
    """
    spread = parts.spreads()
    varies = spread > 0
    if how == Shares.equal:
        return np.asarray(varies / max(varies.sum(), 1))
    standardized = (parts.log_odds - parts.log_odds.mean(axis=0)) / np.where(varies, spread, 1)
    weights, _ = logistic(standardized * varies, labels)
    weights = np.where(varies, weights, 0)
    if not weights.sum() > 0:
        raise InputError(
            "no part ranks patches better than chance, so shares cannot be fitted; use --shares equal."
        )
    return np.asarray(weights / weights.sum())


def weights_of(parts: Parts, shares: np.ndarray) -> tuple[np.ndarray, float]:
    """The weights of log-odds, (parts,), and the intercept that give parts their shares.

    The combination has the mean of the parts' means and deviations, by their shares, so that it is
    again like log-odds.
    """
    spread, mean = parts.spreads(), parts.log_odds.mean(axis=0)
    weights = (shares @ spread) * shares / np.where(spread > 0, spread, 1)
    return weights, float(shares @ mean - weights @ mean)


def across(parts: Parts, labels: np.ndarray, fold: np.ndarray, how: Shares) -> np.ndarray:
    """Combined log-odds, (rows,), of each fold by shares from the labels of the other folds.

    Means and deviations are those of all patches. They know no labels, and log-odds of different folds
    stay on one scale.
    """
    if len(parts.names) == 1:
        return parts.log_odds[:, 0]
    found = np.empty(len(labels))
    for k in np.unique(fold):
        rest, own = fold != k, fold == k
        weights, intercept = weights_of(parts, shares_of(parts.at(rest), labels[rest], how))
        found[own] = parts.log_odds[own] @ weights + intercept
    return found


def fit_stack(
    parts: Parts, labels: np.ndarray, fold: np.ndarray, how: Shares
) -> tuple[Stack, np.ndarray]:
    """The combination of parts with its calibration, and the share of each part, (parts,)."""
    shares = shares_of(parts, labels, how)
    weights, intercept = weights_of(parts, shares)
    together = across(parts, labels, fold, how)
    calibration = calibrate(together, labels) if needs_calibration(together, labels, fold) else PLAIN
    return Stack(parts.names, tuple(map(float, weights)), intercept, *calibration), shares


def nested(
    parts: Parts, labels: np.ndarray, fold: np.ndarray, how: Shares
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (rows,) without and with calibration, by all of `fit_stack` on the other folds.

    They score the calibration; see `stack.out_of_fold`.
    """
    before, after = np.empty(len(labels)), np.empty(len(labels))
    for k in np.unique(fold):
        rest, own = fold != k, fold == k
        fitted, _ = fit_stack(parts.at(rest), labels[rest], fold[rest], how)
        together = fitted.together(parts.log_odds[own])
        before[own] = expit(together)
        after[own] = fitted.calibrated(together)
    return before, after


@dataclass(frozen=True)
class Blend:
    """A combination of whole models.

    Parameters
    ----------
    how
        How shares were chosen.
    shares
        The share of each part.
    stack
        The weights of log-odds, and the calibration.
    candidates
        The AUC across folds with equal and with fitted shares. Without those that cannot be fitted.
    gains
        What each part adds.
    """

    how: Shares
    shares: dict[str, float]
    stack: Stack
    candidates: dict[str, float]
    gains: tuple[Gain, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the manifest."""
        return {
            "how": self.how.value,
            "shares": self.shares,
            **self.stack.numbers(),
            "candidates": self.candidates,
            "gains": {gain.part: gain.to_dict() for gain in self.gains},
        }

    @classmethod
    def from_fields(cls, known: Fields, parts: tuple[str, ...]) -> Blend:
        """Raises ValueError if it is not a combination of these parts."""
        how, shares, added = known.text("how"), known.child("shares"), known.child("gains")
        candidates = known.child("candidates")
        for entries in (shares, added, known.child("weights")):
            if set(entries) != set(parts):
                raise ValueError(f"{entries.name} is of other parts")
        if how not in list(Shares) or not {how} <= set(candidates) <= set(Shares):
            raise ValueError(f"there are no shares called {quoted(how)}")
        found = tuple(Gain.from_fields(part, added.child(part)) for part in parts)
        if any(set(gain.others) != set(parts) - {gain.part} for gain in found):
            raise ValueError(f"{added.name} compares with other parts")
        return cls(
            Shares(how),
            {part: shares.share(part) for part in parts},
            Stack.from_numbers(known, parts),
            {name: candidates.share(name) for name in candidates},
            found,
        )


@dataclass(frozen=True)
class Blended:
    """A fitted combination: its record, and what it says of the patches it was fitted on.

    Parameters
    ----------
    blend
        The record.
    probabilities
        The calibrated probability of each patch, (rows,), whose shares come from the other folds.
    scores
        The AUC of each part and of all together, with intervals across groups, in this order.
    """

    blend: Blend
    probabilities: np.ndarray
    scores: dict[str, Estimate]


def blend(
    parts: Parts, labels: np.ndarray, fold: np.ndarray, group: np.ndarray, how: Shares, whole: str
) -> Blended:
    """Combine parts, and score the combination and what each part adds.

    Parameters
    ----------
    parts
        The parts, each with out-of-fold predictions.
    labels
        0 or 1 for each patch, (rows,).
    fold, group
        The fold that each patch is scored in, and its group, (rows,).
    how
        How shares are chosen.
    whole
        The name of the combination in the scores.

    Raises
    ------
    InputError
        If shares cannot be fitted, or all patches of a class are in one group.
    """
    stack, shares = fit_stack(parts, labels, fold, how)
    together = {how: across(parts, labels, fold, how)}
    for other in Shares:
        if other not in together:
            try:
                together[other] = across(parts, labels, fold, other)
            except InputError:  # of shares that were not asked for: there is no such candidate
                continue
    without = {name: across(parts.without(k), labels, fold, how) for k, name in enumerate(parts.names)}
    scores = np.column_stack([parts.log_odds, together[how]]).T
    estimates = auc_intervals(labels, scores, group, out_of_fold=True)
    return Blended(
        Blend(
            how,
            dict(zip(parts.names, shares.tolist(), strict=True)),
            stack,
            {name.value: auc(labels, together[name]) for name in Shares if name in together},
            gains(labels, together[how], without, group),
        ),
        stack.calibrated(together[how]),
        dict(zip((*parts.names, whole), estimates, strict=True)),
    )


@dataclass(frozen=True)
class OutsideModel:
    """Which predictions of an outside model a fit took.

    Parameters
    ----------
    files
        The names of their files; none if they were given in memory.
    seeds
        The number of seeds, whose log-odds were averaged.
    folds
        The number of folds; 0 if the user stated that they are out of fold.
    predictions
        SHA-256 of the log-odds and folds in the order of the patches.
    """

    files: tuple[str, ...]
    seeds: int
    folds: int
    predictions: str

    @classmethod
    def of(cls, outside: OutsidePredictions) -> OutsideModel:
        """The record of predictions."""
        content = outside.log_odds.astype("<f8").tobytes()
        if outside.fold is not None:
            content += outside.fold.astype("<i8").tobytes()
        files = tuple(one_line(file.name) for file in outside.files)
        return cls(files, len(outside.rows), outside.folds, sha256(content))

    @classmethod
    def from_fields(cls, known: Fields) -> OutsideModel:
        """Raises ValueError if a field is missing or wrong."""
        files = known.texts("files")
        if len(files) > MOST_FILES:
            raise ValueError(f"{known.name}.files is longer than {MOST_FILES}")
        return cls(
            files, known.whole("seeds", least=1), known.whole("folds"), known.text("predictions")
        )

    def sentence(self) -> str:
        """Where they are from and what is known of their folds, as a clause."""
        files = ", ".join(self.files) or "given in memory"
        if self.folds:
            return f"{files}; {self.folds} folds, none of which divides a group"
        return f"{files}; out of fold as the user stated, which was not checked"


@dataclass(frozen=True)
class OutsideRecord:
    """The outside models of a fit, by name, and how shares are chosen."""

    shares: Shares
    models: dict[str, OutsideModel]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of a plan and a manifest."""
        models = {name: asdict(one) | {"files": list(one.files)} for name, one in self.models.items()}
        return {"shares": self.shares.value, "models": models}

    @classmethod
    def from_fields(cls, known: Fields) -> OutsideRecord:
        """Raises ValueError if a field is missing or wrong."""
        models, shares = known.children("models"), known.text("shares")
        if not models or not all(map(NAME.fullmatch, models)) or CLASSICAL in models:
            raise ValueError("outside.models has no models, or one of another name")
        if shares not in list(Shares):
            raise ValueError(f"there are no shares called {quoted(shares)}")
        return cls(
            Shares(shares), {name: OutsideModel.from_fields(one) for name, one in models.items()}
        )


@dataclass(frozen=True)
class Outside:
    """The predictions of other models that a fit takes, and how shares are chosen."""

    predictions: tuple[OutsidePredictions, ...]
    shares: Shares

    def record(self) -> OutsideRecord:
        """What a plan and a manifest say of them."""
        return OutsideRecord(self.shares, {one.name: OutsideModel.of(one) for one in self.predictions})

    def parts(self, log_odds: np.ndarray, fold: np.ndarray) -> Parts:
        """The classical model, by its log-odds and folds, (rows,) each, and these models."""
        return Parts.of(self.predictions).with_first(CLASSICAL, log_odds, fold)
