"""Combining predictions of several models, without features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ..constants import FOLDS, Shares
from ..errors import InputError
from ..evaluate.inputs import find_features, grouped, slides_of
from ..evaluate.outside import OutsidePredictions, Patches, check_unseen, read_outside
from ..evaluate.predictions import Models, Truth, check_outputs, read_truth, write_predictions
from ..execution.memory import check_room
from ..grouping.folds import make_folds, read_folds
from ..learn.blend import Blended, Parts
from ..learn.blend import blend as combined
from ..report.sentences import blended as sentences_on
from ..report.sentences import not_above_chance, too_good
from ..storage import costs
from ..store.store import Store
from .arguments import check_flags, check_log, check_numbers, check_path
from .data import Log, unheard
from .fitting import shares_named, with_models_read
from .messages import for_python

BLEND = "blend"  # what the combination is called
LEAST_PARTS = 2


class Blend:
    """A combination of several models' predictions; `blend` returns it.

    Parameters
    ----------
    truth
        The labels that it was fitted to.
    outside
        The out-of-fold predictions of each part.
    result
        The combination and its scores.
    protocol
        A sentence on the groups that intervals are across.
    """

    def __init__(
        self, truth: Truth, outside: Sequence[OutsidePredictions], result: Blended, protocol: str
    ) -> None:
        self._truth, self._outside, self._result = truth, tuple(outside), result
        self.protocol = protocol

    @property
    def parts(self) -> list[str]:
        """The names of the parts."""
        return [one.name for one in self._outside]

    @property
    def scores(self) -> pd.DataFrame:
        """The AUC of each part and of `blend`, out of fold, with intervals and shares."""
        rows = [
            {
                "auc": auc.value,
                "low": auc.low,
                "high": auc.high,
                "share": self._result.blend.shares.get(name),
            }
            for name, auc in self._result.scores.items()
        ]
        return pd.DataFrame(rows, index=pd.Index(list(self._result.scores), name="model"), dtype=float)

    @property
    def gains(self) -> pd.DataFrame:
        """What each part adds: the AUC of all parts less that of the others, with tests."""
        rows = [
            {
                "others": " + ".join(gain.others),
                "difference": gain.difference.value,
                "low": gain.difference.low,
                "high": gain.difference.high,
                "p_value": np.nan if gain.p_value is None else gain.p_value,
                "p_holm": np.nan if gain.p_holm is None else gain.p_holm,
                "finding": gain.finding(BLEND),
            }
            for gain in self._result.blend.gains
        ]
        return pd.DataFrame(rows, index=pd.Index(self.parts, name="part"))

    @property
    def findings(self) -> list[str]:
        """What came of it, in sentences, as `pcam blend` prints them."""
        return [
            *not_above_chance(self._result.scores[BLEND]),
            *too_good({name: self._result.scores[name] for name in self.parts}),
            *sentences_on(self._result.blend, BLEND),
            f"intervals are across {self.protocol}",
        ]

    @property
    def out_of_fold(self) -> pd.Series[float]:
        """The out-of-fold probabilities of the combination, by id; shares are of the other folds."""
        index = pd.Index(self._truth.ids, name="id")
        return pd.Series(self._result.probabilities, index=index, name="probability")

    @for_python
    def predict(self, models: Models) -> pd.Series[float]:
        """Combine predictions of other patches by the same models.

        Parameters
        ----------
        models
            Predictions of every part for the same patches, as `blend` takes them; folds are not needed,
            and several tables of the same patches are averaged. A list of "NAME=FILE" may leave out
            names if it is in the order of the parts.

        Returns
        -------
        pandas.Series
            The probabilities of tumor, by id, in the order of the first table.

        Raises
        ------
        InputError
            If predictions are of other parts, or are not of the same patches.
        """
        found = self._others(models)
        log_odds = np.column_stack([found[name].log_odds for name in self.parts])
        index = pd.Index(found[self.parts[0]].ids, name="id")
        probabilities = self._result.blend.stack.probability(log_odds)
        return pd.Series(probabilities, index=index, name="probability")

    def _others(self, models: Models) -> dict[str, OutsidePredictions]:
        """Predictions of other patches, by the name of the part."""
        read = {one.name: one for one in read_outside(named_in_order(models, self.parts), None)}
        if set(read) != set(self.parts):
            raise InputError(
                f"the blend is of {', '.join(self.parts)}, and predictions of {', '.join(read)} were "
                "given; give those of each part, as NAME=FILE or in this order."
            )
        return read

    @for_python
    def write(self, path: str | Path, models: Models | None = None) -> int:
        """Write a CSV with columns id and label, the probability of tumor.

        Parameters
        ----------
        path
            The CSV.
        models
            Predictions of other patches, to combine; see `predict`. None: the out-of-fold probabilities
            are written.

        Returns
        -------
        int
            The number of patches.

        Raises
        ------
        InputError
            If predictions cannot be combined, or the file cannot be written.
        """
        check_path("path", path, "the path of the CSV to write")
        found = self.out_of_fold if models is None else self.predict(models)
        check_outputs(Path(path))
        write_predictions(Path(path), list(found.index), found.to_numpy(), costs.Cost())
        return len(found)

    def to_dict(self) -> dict[str, Any]:
        """The result as `pcam blend --json` prints it."""
        return {
            "patches": len(self._truth.ids),
            "positive": int(self._truth.labels.sum()),
            "protocol": self.protocol,
            "parts": {
                one.name: {
                    "files": [str(file).encode(errors="replace").decode() for file in one.files],
                    "seeds": len(one.rows),
                    "folds": one.folds or None,
                }
                for one in self._outside
            },
            "out_of_fold_auc": {name: auc.as_dict() for name, auc in self._result.scores.items()},
            "blend": self._result.blend.to_dict(),
            "findings": self.findings,
        }

    def __repr__(self) -> str:
        auc = self._result.scores[BLEND]
        return (
            f"<pcam blend of {', '.join(self.parts)}: AUC {auc.value:.4f} out of fold "
            f"[{auc.low:.4f}, {auc.high:.4f}]>"
        )

    def _repr_html_(self) -> str:
        scores = self.scores.to_html(border=0, float_format=lambda value: f"{value:.4f}", na_rep="")
        return scores + self.gains.to_html(border=0, float_format=lambda value: f"{value:.4f}")


def named_in_order(models: Models, names: Sequence[str]) -> Models:
    """Specifications without names, as many as there are names, with these names."""
    if not isinstance(models, list | tuple) or len(models) != len(names):
        return models
    if any("=" in str(one) for one in models):
        return models
    return [f"{name}={one}" for name, one in zip(names, models, strict=True)]


@for_python
def blend(
    truth: Any,
    models: Models,
    *,
    slides: Any = None,
    features: Store | str | Path | None = None,
    folds: int = FOLDS,
    folds_from: str | Path | None = None,
    shares: Shares | str = "equal",
    vouch: bool = False,
    seed: int = 0,
    log: Log = unheard,
) -> Blend:
    """Combine out-of-fold predictions of several models, and report what each of them adds.

    Each model has a share of the standardized log-odds. Everything is scored across folds of slides.

    Parameters
    ----------
    truth
        Labels of 0 and 1: a Series indexed by id, a DataFrame with `id` and `label`, or a CSV.
    models
        Out-of-fold probabilities of tumor of two models or more: a mapping from name to a CSV, a
        DataFrame with `id`, or a Series by id; or a list of "NAME=FILE". A table needs a column `fold`,
        or a file for each fold, "NAME=FOLD0.csv,FOLD1.csv"; files of the same patches are seeds. The
        folder of a model that was fitted on these patches stands for its out-of-fold predictions.
    slides
        The slide of each patch: a Series or mapping by id, or a CSV, "FILE" or "FILE:COLUMN".
    features
        A feature store of these patches, for slides or pseudo-slides.
    folds
        Number of folds that shares and calibration are scored across.
    folds_from
        These folds: those of a model, or of a CSV or Parquet file with id, fold and group.
    shares
        "equal", or "fitted" by logistic regression on the other folds.
    vouch
        State that predictions without folds are out of fold: each is of a model that had seen neither
        the patch nor its slide.
    seed
        Seed of the folds.
    log
        Called with sentences on how tables were read; `print` prints them.

    Returns
    -------
    Blend
        `scores` and `gains` are tables, `out_of_fold` and `predict` are blended predictions.

    Raises
    ------
    InputError
        For tables that do not belong together, or predictions that may be of models that had seen the
        patches.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import pcam_features as pcam
    >>> rng = np.random.default_rng(0)
    >>> ids = [f"p{k}" for k in range(200)]
    >>> slides = {patch: f"s{k % 20}" for k, patch in enumerate(ids)}
    >>> truth = pd.Series(rng.integers(0, 2, 200), index=ids)
    >>> noise = rng.normal(size=(2, 200))
    >>> a, b = 1 / (1 + np.exp(-(2 * truth.to_numpy() - 1 + noise)))
    >>> fold = np.arange(200) % 20 % 5
    >>> tables = [pd.DataFrame({"id": ids, "label": p, "fold": fold}) for p in (a, b)]
    >>> blend = pcam.blend(truth, {"a": tables[0], "b": tables[1]}, slides=slides)
    >>> list(blend.scores.index)
    ['a', 'b', 'blend']
    >>> bool(blend.scores.auc["blend"] > blend.scores.auc[["a", "b"]].max())
    True
    """
    check_room()
    check_flags(vouch=vouch)
    check_numbers(folds=folds, seed=seed)
    check_log(log)
    how = shares_named(shares)
    if features is not None and not isinstance(features, Store):
        check_path("features", features, "a feature store or its path")
        features = Path(features)
    known = read_truth(truth)
    patches_known = Patches(known.ids, known.labels, "the truth")
    outside = read_outside(with_models_read(models), patches_known, (BLEND, "id"))
    if len(outside) < LEAST_PARTS:
        raise InputError(
            f"a blend needs the predictions of {LEAST_PARTS} models or more, and "
            f"{len(outside)} {'is' if len(outside) == 1 else 'are'} given; add others."
        )
    stored = None if features is None else find_features(features, known.ids)
    names: list[str | None] = [None] * len(known.ids) if stored is None else stored.slides
    notes = [*known.notes, *(note for one in outside for note in one.notes)]
    if slides is not None:
        names, of_slides = slides_of(str(slides) if isinstance(slides, Path) else slides, known.ids)
        notes += of_slides
    groups, _, protocol = grouped(known.ids, known.labels, names, stored, int(seed))
    group = groups.codes
    patches = pd.DataFrame(
        {"id": known.ids, "label": known.labels.astype(float), "slide": [f"group {k}" for k in group]}
    )
    if folds_from is None:
        fold = make_folds(patches, int(folds), int(seed)).fold
    else:
        check_path("folds_from", folds_from, "the path of a model, or of a table of folds")
        given = read_folds(Path(folds_from), patches)
        fold, group, protocol = given.fold, given.group, given.protocol
    check_unseen(outside, group, vouched=vouch)
    for note in dict.fromkeys(notes):
        log(note)
    with threadpool_limits(1, user_api="blas"):  # matrices of a few columns: threads would only wait
        result = combined(Parts.of(outside), known.labels, fold, group, how, BLEND)
    return Blend(known, outside, result, protocol)
