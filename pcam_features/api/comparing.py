"""Comparing models on the same patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import pandas as pd

from ..constants import RESAMPLES, SPECIFICITY
from ..errors import InputError
from ..evaluate import comparison, inputs
from ..evaluate.inputs import TrainingPatches
from ..evaluate.options import ComparisonOptions
from ..evaluate.result import Comparison as Result
from ..execution.memory import check_room
from ..storage.files import check_html
from ..store.store import Store
from .arguments import check_groupings, check_numbers, check_pairs, check_path, check_progress
from .messages import for_python
from .progress import Progress, shown

if TYPE_CHECKING:
    from ..evaluate.inputs import ComparisonData
    from .model import Model


class Comparison:
    """The result of a comparison; `compare` returns it.

    Parameters
    ----------
    data
        What was compared.
    result
        The statistics.
    threads
        Number of threads for reports.
    """

    def __init__(self, data: ComparisonData, result: Result, threads: int) -> None:
        self.data, self.result, self._threads = data, result, threads

    @property
    def models(self) -> pd.DataFrame:
        """A row for each model: its metrics with their intervals, and its cost where known."""
        return self.result.models_frame()

    @property
    def differences(self) -> pd.DataFrame:
        """A row for each pair of models: the difference of AUC with its interval and p-values."""
        return self.result.differences_frame()

    @property
    def verdict(self) -> str:
        """What follows, in a sentence."""
        return self.result.verdict

    @property
    def protocol(self) -> str:
        """What intervals are across, in a sentence: slides, or patches as if independent."""
        return self.result.protocol

    def to_dict(self) -> dict[str, Any]:
        """The comparison as `pcam compare --json` prints it."""
        return self.result.to_dict()

    @for_python
    def report(
        self,
        path: str | Path,
        *,
        model: Model | str | Path | None = None,
        source: str | Path | None = None,
        published: bool = False,
    ) -> Path:
        """Write the comparison as an HTML file that needs no other file.

        Parameters
        ----------
        path
            The file.
        model
            The classical model that gives its reasons for patches on which models disagree; the
            comparison then needs `features`.
        source
            Where the pictures of patches are. Default: where `features` were made from.
        published
            Whether to show what others report on these data.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        InputError
            If the file cannot be written, or the model does not fit the features.
        """
        check_path("path", path, "the path of the page to write")
        from ..learn import exhibits  # heavy, and a comparison needs no models
        from ..report import comparison_page

        file = Path(path)
        check_html(file)
        bundle = None
        if model is not None:
            bundle = exhibits.open_model(folder_of(model), self.data)
        gathered = exhibits.gather(
            self.data,
            model=bundle,
            source=None if source is None else str(source),
            seed=self.result.seed,
            threads=self._threads,
        )
        comparison_page.write(file, self.result, gathered, published=published)
        return file

    def __repr__(self) -> str:
        names = ", ".join(self.result.names)
        return f"<pcam comparison of {names}: {self.verdict} Intervals across: {self.protocol}>"

    def _repr_html_(self) -> str:
        return f"{self.result._repr_html_()}<p>Intervals across: {escape(self.protocol)}.</p>"


def folder_of(model: Model | str | Path) -> Path:
    """The folder of a model, given as such or by its path. Raises InputError for anything else."""
    folder = model if isinstance(model, str | Path) else getattr(model, "path", None)
    check_path("model", model if folder is None else folder, "a model or its path")
    return Path(str(folder))


def training_patches(model: Model | str | Path, data: ComparisonData) -> TrainingPatches:
    """The patches that a model was trained on, to look for copies of them among those compared."""
    from ..learn.bundle import read_manifest
    from ..learn.training_patches import read_thumbnails

    if data.features is None:
        raise InputError("--model needs the feature store of these patches; add --features.")
    path = folder_of(model)
    manifest, features = read_manifest(path), data.features
    name = f"the training patches of {path}"
    if features.store.split(features.split).fingerprint.ids == manifest.source.fingerprint.ids:
        return TrainingPatches(name, None, "these are its training patches")
    small = read_thumbnails(path, manifest)
    problem = "" if small is not None else "it was fitted on a store without thumbnails"
    return TrainingPatches(name, small, problem)


@for_python
def compare(
    truth: Any,
    models: Mapping[str, Any] | Sequence[str],
    *,
    slides: Any = None,
    features: Store | str | Path | None = None,
    model: Model | str | Path | None = None,
    by: Any = (),
    pairs: Sequence[str | tuple[str, str]] = (),
    margin: float | None = None,
    specificity: float = SPECIFICITY,
    validation_truth: Any = None,
    validation: Mapping[str, Any] | Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    threads: int = 0,
    seed: int = 0,
    progress: Progress = "bar",
) -> Comparison:
    """Compare models on the same patches: AUC and other metrics, with intervals across slides.

    Parameters
    ----------
    truth
        Labels of 0 and 1: a pandas Series indexed by id, a DataFrame with `id` and `label`, or a CSV.
    models
        Probabilities of tumor of each model, by its name: a Series indexed by id, an array in the order
        of `truth`, a DataFrame with `id` and a column for each seed, or a CSV; or a list of these, one
        for each seed. Or, as on the command line, a list of "NAME=FILE".
    slides
        The slide of each patch: a Series or mapping by id, or a CSV, "FILE" or "FILE:COLUMN".
    features
        A feature store of these patches: for slides, pseudo-slides, stains and near-duplicates.
    model
        A model that was fitted by pcam: near-duplicates of its training patches are looked for among
        those compared, and scores are given with and without them. Needs `features`. Default: the
        training patches are those of split "train" of `features`, if another is compared.
    by
        Other groupings to show scores by: a mapping from a grouping's name to a Series or mapping by
        id, or a list of "FILE:COLUMN".
    pairs
        Pairs of models that were chosen before results were seen, "A:B" or ("A", "B"). Default: all.
    margin
        Non-inferiority margin: how much lower A's AUC may be than B's.
    specificity
        Where sensitivity is reported.
    validation_truth, validation
        Truth and predictions of a validation set, on which thresholds are chosen.
    resamples
        Number of draws of slides for the intervals of metrics other than AUC, and for curves.
    threads
        Number of threads; 0 is one for each core.
    seed
        Seed of everything random.
    progress
        See `features`; the units are draws.

    Returns
    -------
    Comparison
        `models` and `differences` are tables, `verdict` is a sentence, and `report` writes a page.

    Raises
    ------
    InputError
        For tables that do not belong together.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import pcam_features as pcam
    >>> rng = np.random.default_rng(0)
    >>> truth = pd.Series(rng.integers(0, 2, 200), index=[f"patch{k}" for k in range(200)])
    >>> good, poor = truth + rng.normal(size=200), truth + 3 * rng.normal(size=200)
    >>> squeeze = lambda values: 1 / (1 + np.exp(-values))
    >>> result = pcam.compare(truth, {"good": squeeze(good), "poor": squeeze(poor)}, resamples=200)
    >>> list(result.models.index)
    ['good', 'poor']
    """
    check_room()
    check_numbers(
        margin=margin, specificity=specificity, resamples=resamples, threads=threads, seed=seed
    )
    check_progress(progress)
    check_groupings(by)
    check_pairs(pairs)
    if features is not None and not isinstance(features, Store):
        check_path("features", features, "a feature store or its path")
    if (validation_truth is None) != (validation is None):
        raise InputError("--validation-truth and --validation go together.")
    tuned_on = None
    if validation_truth is not None and validation is not None:
        tuned_on = inputs.Validation(validation_truth, validation)
    workers = int(threads) or joblib.cpu_count()
    options = ComparisonOptions(
        pairs=pairs,
        by=by,
        margin=None if margin is None else float(margin),
        specificity=float(specificity),
        resamples=int(resamples),
        seed=int(seed),
        threads=workers,
    )
    data = inputs.gather(
        truth,
        models,
        slides=str(slides) if isinstance(slides, Path) else slides,
        features=Path(features) if isinstance(features, str) else features,
        tuned_on=tuned_on,
        seed=int(seed),
    )
    if model is not None:
        data = replace(data, training=training_patches(model, data))
    with shown(progress, "compare", resamples, "draws") as advance:
        result = comparison.run(data, options, advance)
    return Comparison(data, result, workers)
