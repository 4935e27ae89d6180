"""The model of `pcam fit` as an estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ..api.arguments import check_families, check_numbers
from ..constants import FOLDS
from ..engine.devices import choose
from ..errors import InputError
from ..extraction.images import images_of
from ..extraction.selection import families_named
from ..extraction.transformer import device_of, measure
from ..families.registry import FAMILIES
from ..grouping.appearance import Looks
from ..grouping.folds import Folds, make_folds
from ..learn.base_models import by_default, logits
from ..learn.context import FitContext
from ..learn.estimators import (
    LogOddsClassifier,
    encode_labels,
    for_scikit_learn,
    known_slides,
    patch_ids,
)
from ..learn.fit import learn, searched_settings
from ..learn.settings import ROUNDS, Compute, Settings
from ..learn.steps import Work
from ..learn.validation import validate_data
from ..store.values import of_arrays
from ..words import counted
from .tables import appearance_in, are_images, arrays_of, families_of
from .transformers import check_sizes

NOT_FEATURES = ("id", "label", "slide")  # columns of a store's table that would tell the answer


class PatchClassifier(LogOddsClassifier):
    """The model of `pcam fit`: boosted trees of all families and a kernel model per group, combined.

    Base models are trained out of fold across slides, or across pseudo-slides where slides are unknown.
    Their standardized log-odds are combined in fixed shares, and the combination is calibrated.

    Parameters
    ----------
    families : str or sequence of str, default=None
        Families to learn from. For images, None means the hand-made families that `pcam.fit` takes
        (all but "histogram"), and "cnn" is the default embedding. For tables, None means all columns.
    n_splits : int, default=5
        Number of folds, from 3 to 20.
    trials : int, default=0
        Trials of a search for better settings, per kind of model. 0 means no search.
    rounds : int, default=180
        Largest number of boosted trees per model, from 1 to 10,000. The folds choose how many are
        used. A search chooses this number itself.
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where to compute features and train.
    threads : int, default=0
        Number of threads. 0 means one per core.
    random_state : int, default=0
        Seed.
    other_sizes : {"resize", "crop", "tile"}, default=None
        How images of another size are brought to 96×96 pixels, as the argument `fit` of
        `pcam_features.features` does. None means that other sizes are an error.
    mpp : float, default=None
        Micrometers per pixel of the images, with `other_sizes`: images are brought to PCam's scale of
        0.972 first. None means that the scale is unknown.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The two classes. The second one is the positive class.
    families_ : dict of str to tuple of str
        The families and their columns.
    folds_ : pcam_features.grouping.folds.Folds
        Group and fold of each training patch.
    models_ : dict
        The base models by name, trained on all patches.
    stack_ : pcam_features.learn.stack.Stack
        How the models are combined and calibrated.
    out_of_fold_ : DataFrame of shape (n_samples, n_models + 1)
        Probabilities of the second class: each base model's, and ``combined``.
    out_of_fold_auc_ : dict
        For each column of `out_of_fold_`, the AUC with its confidence interval across groups.
    importance_ : DataFrame
        A row per column: its family, its share of the trees' gain, and its mean contribution.
    n_features_in_ : int
        Number of columns, if fitted on a table.
    feature_names_in_ : ndarray of str objects
        Names of columns, if fitted on a DataFrame.

    See Also
    --------
    pcam_features.fit : The same model, fitted on a feature store and kept in a folder.

    Notes
    -----
    `X` is either images, as for `PatchFeatures`, or a table. In a DataFrame, the part of a column's
    name before ``__`` is its family. Columns of other names form one family. An array of as many
    columns as `families` have is read as these families, any other array as one family.

    Pickles hold the models' numbers: XGBoost's own bytes and NumPy arrays. As with all pickles, load
    only your own.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from pcam_features.sklearn import PatchClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(120) % 2
    >>> columns = ["lbp__a", "lbp__b", "lbp__c"]
    >>> X = pd.DataFrame(rng.normal(size=(120, 3)) + y[:, None], columns=columns)
    >>> slides = np.repeat([f"slide {k}" for k in range(12)], 10)
    >>> classifier = PatchClassifier(n_splits=3, threads=1).fit(X, y, groups=slides)
    >>> list(classifier.models_)
    ['texture_trees', 'texture_kernel']
    >>> classifier.predict_proba(X).shape
    (120, 2)
    """

    def __init__(
        self,
        families: str | Sequence[str] | None = None,
        *,
        n_splits: int = FOLDS,
        trials: int = 0,
        rounds: int = ROUNDS,
        device: str = "cpu",
        threads: int = 0,
        random_state: int = 0,
        other_sizes: str | None = None,
        mpp: float | None = None,
    ) -> None:
        self.families = families
        self.n_splits = n_splits
        self.trials = trials
        self.rounds = rounds
        self.device = device
        self.threads = threads
        self.random_state = random_state
        self.other_sizes = other_sizes
        self.mpp = mpp

    __metadata_request__fit = {"groups": True}  # noqa: RUF012 (read by scikit-learn's routing)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _more_tags(self) -> dict[str, Any]:  # the same for scikit-learn 1.5
        return {"X_types": ["2darray", "3darray"]}

    @for_scikit_learn
    def fit(self, X: Any, y: Any, groups: Any = None) -> PatchClassifier:
        """Train the base models, combine and calibrate them.

        Parameters
        ----------
        X : images or table
            uint8 (n_samples, 96, 96, 3), a sequence of paths or PIL images, or a DataFrame or array of
            shape (n_samples, n_features). String indices of a DataFrame are taken as ids of patches.
            With `other_sizes`, all images have one height and width, which may be any.
        y : array-like of shape (n_samples,)
            Two classes.
        groups : array-like of shape (n_samples,), default=None
            The slide of each patch; None, NaN or an empty string where it is unknown.

        Returns
        -------
        PatchClassifier
            The fitted classifier.

        Raises
        ------
        InputError
            If a parameter is wrong, there are too few patches or groups for the folds, or `X` is of the
            wrong form. It is a ValueError too, as all InputErrors of estimators.
        ValueError
            If `y` does not hold two classes, or a table is not of finite numbers.
        """
        self._check_parameters()
        arrays, families = self._learn_columns(X, y)
        self.classes_, labels = encode_labels(y)
        rows = len(next(iter(arrays.values())))
        if len(labels) != rows:
            raise InputError(f"there are {counted(len(labels), 'label')} for {counted(rows, 'image')}.")
        self.families_ = families
        looks = appearance_in(arrays, families)
        self.folds_ = self._deal(patch_ids(X, len(labels)), labels, groups, looks)
        with TemporaryDirectory(prefix="pcam-") as folder:
            self._learn(Work(Path(folder)), arrays, labels)
        return self

    def _check_parameters(self) -> None:
        """Raise InputError for a parameter that is wrong by itself."""
        check_families(self.families)
        check_numbers(
            n_splits=self.n_splits,
            trials=self.trials,
            rounds=self.rounds,
            threads=self.threads,
            random_state=self.random_state,
        )
        device_of(self.device)
        check_sizes(self.other_sizes, self.mpp)

    def _deal(self, ids: list[str], labels: np.ndarray, groups: Any, looks: Looks | None) -> Folds:
        patches = pd.DataFrame(
            {"id": ids, "label": labels.astype(float), "slide": known_slides(groups, len(ids))}
        )
        return make_folds(patches, self.n_splits, self.random_state, looks)

    def _learn(self, work: Work, arrays: dict[str, np.ndarray], labels: np.ndarray) -> None:
        target, _ = choose(device_of(self.device))
        threads = self.threads or joblib.cpu_count()
        compute = Compute(target.NAME, threads, self.random_state)
        context = FitContext(
            work, of_arrays(arrays), labels, self.folds_, compute, Settings(rounds=self.rounds)
        )
        settings, _ = searched_settings(context, self.trials)
        learned = learn(replace(context, settings=settings), self.families_)
        self.models_, self.stack_ = learned.models, learned.outcome.stack
        self.out_of_fold_ = pd.DataFrame(learned.predicted)
        self.out_of_fold_auc_ = learned.outcome.out_of_fold_auc
        self.importance_ = learned.importance

    @for_scikit_learn
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the calibrated log-odds of the second class.

        Parameters
        ----------
        X : images or table
            As in `fit`. A model fitted on images takes a table of its columns too.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-odds, float64.
        """
        check_is_fitted(self)
        self._check_parameters()
        values = of_arrays(self._known_columns(X))
        scores = logits(self.models_, values, self.threads or joblib.cpu_count())
        log_odds: np.ndarray = self.stack_.log_odds(scores)
        return log_odds

    def _learn_columns(
        self, X: Any, y: Any
    ) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
        """Return each family's values and names of columns."""
        if are_images(X):
            names = self.families if self.families is not None else by_default(list(FAMILIES))
            values, columns = self._measured(X, names)
        else:
            values, _ = validate_data(self, X, y, dtype=np.float32, order="C", ensure_min_samples=2)
            columns = self._columns_of(values)
        families = families_of(columns)
        if self.families is not None and not are_images(X):
            families = self._wanted(families)
        return arrays_of(values, columns, families), families

    def _measured(self, X: Any, families: Any) -> tuple[np.ndarray, list[str]]:
        """Return the features of images, and the names of their columns."""
        images = images_of(X, self.other_sizes, self.mpp)
        return measure(images, families, threads=self.threads, device=self.device)

    def _columns_of(self, values: np.ndarray) -> list[str]:
        """Return the names of a table's columns. Raises InputError for those that are no features."""
        if hasattr(self, "feature_names_in_"):
            names = [str(name) for name in self.feature_names_in_]
            for name in NOT_FEATURES:
                if name in names:
                    raise InputError(
                        f"the table has the column {name!r}, which is not a feature; drop it, and give "
                        "labels as y and slides as groups."
                    )
            return names
        known = [column for family in families_named(self.families) for column in family.columns]
        if len(known) == values.shape[1]:
            return known
        return [f"x{k}" for k in range(values.shape[1])]

    def _wanted(self, families: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        names = [family.name for family in families_named(self.families)]
        for name in names:
            if name not in families:
                raise InputError(
                    f"the table has no columns of the family {name!r}; it has: {', '.join(families)}."
                )
        return {name: families[name] for name in families if name in names}

    def _known_columns(self, X: Any) -> dict[str, np.ndarray]:
        """Return the values of each family that the model was fitted on."""
        columns = [column for own in self.families_.values() for column in own]
        if are_images(X):
            names = self.families if self.families is not None else list(self.families_)
            values, measured = self._measured(X, names)
        elif hasattr(self, "n_features_in_"):
            values = validate_data(self, X, dtype=np.float32, order="C", reset=False)
            measured = self._columns_of(values) if hasattr(self, "feature_names_in_") else columns
        elif isinstance(X, pd.DataFrame):
            measured = [str(name) for name in X.columns]
            values = X.to_numpy()
        else:
            values, measured = np.asarray(X), columns
        lacking = set(columns) - set(measured)
        if lacking or values.ndim != 2 or values.shape[1] != len(measured):
            raise InputError(
                f"the model needs {counted(len(columns), 'column')}, of the families "
                f"{', '.join(self.families_)}; give these, or images."
            )
        return arrays_of(values, measured, self.families_)
