"""scikit-learn estimators for arrays and tables: the kernel model and the splitter of `pcam fit`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted

from ..constants import FOLDS, LEAST_FOLDS, MOST_FOLDS
from ..errors import InputError, in_python
from ..families.registry import FAMILIES
from ..grouping.appearance import FAMILY, Looks, looked_at, looks_of
from ..grouping.folds import Folds, make_folds
from ..store.values import of_arrays
from ..words import counted
from . import kernel_ridge, nystroem
from .settings import PENALTY, WIDTH
from .validation import validate_data

COLOR_COLUMNS = tuple(FAMILIES[FAMILY].columns)
APPEARANCE_COLUMNS = tuple(COLOR_COLUMNS[k] for k in looked_at(COLOR_COLUMNS))
BLOCK = "features"  # the name of the one table that a kernel model of arrays learns from
PARAMETERS = {"fit": "other_sizes", "folds": "n_splits", "seed": "random_state"}  # by option

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class EstimatorError(InputError, ValueError):
    """Invalid parameters or data of an estimator.

    scikit-learn, and code around its estimators, expects a ValueError where an estimator refuses data.
    Elsewhere an InputError is none, so that `except ValueError` catches no sentence meant for a user.
    """


def for_scikit_learn(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A method of an estimator: its errors are ValueErrors too and name the estimator's parameters."""

    @functools.wraps(method)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return method(*args, **kwargs)
        except InputError as error:
            raise EstimatorError(in_python(str(error), PARAMETERS)) from error

    return call


def encode_labels(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the two sorted classes and each row's class as 0 or 1, int8 (rows,).

    Raises
    ------
    ValueError
        If there are fewer or more than two classes, or `y` does not hold classes.
    """
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y")
    if kind != "binary":
        raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
    classes, codes = np.unique(column_or_1d(y, warn=True), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"The labels have one class only ({classes[0]!r}); two classes are needed.")
    return classes, codes.astype(np.int8)


class LogOddsClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of two classes, which has `classes_` and a `decision_function` of log-odds."""

    classes_: np.ndarray

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _more_tags(self) -> dict[str, Any]:  # the same for scikit-learn 1.5
        return {"binary_only": True}

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the log-odds of the second class, float64 (n_samples,)."""
        raise NotImplementedError

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X
            As in `decision_function`.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            Probabilities in the order of `classes_`, float64.
        """
        positive = expit(self.decision_function(X))
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of the higher probability.

        Parameters
        ----------
        X
            As in `decision_function`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Members of `classes_`.
        """
        above = self.decision_function(X) > 0
        return np.asarray(self.classes_[above.astype(int)])


class NystroemRidgeClassifier(LogOddsClassifier):
    """Kernel ridge regression with a Gaussian kernel and Nyström's approximation.

    This is the kernel model of `pcam fit` for any table of numbers. Columns are standardized and
    clipped at four standard deviations. Ridge regression on the kernel's values at some training rows,
    the landmarks, is fitted to labels of 0 and 1. Training is in float32 with sums in float64, as in
    `pcam fit`. Prediction is in float64, so that a row's score does not depend on the rows beside it;
    it agrees with a bundle's model to float32 precision.

    Parameters
    ----------
    n_landmarks : int, default=6000
        Number of training rows to draw as landmarks. With as many landmarks as rows, the model is
        exact kernel ridge regression.
    width : float, default=1/3
        The kernel is ``exp(-width * d2)``, where ``d2`` is the mean over columns of squared
        differences in standard deviations.
    penalty : float, default=0.05
        Ridge penalty.
    random_state : int, RandomState instance or None, default=0
        Seed of the draw of landmarks.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The two classes. The second one is the positive class.
    model_ : pcam_features.learn.kernel_ridge.NystroemRidge
        Means, scales, landmarks and weights.
    n_features_in_ : int
        Number of columns in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns in `fit`, if they are strings.

    Examples
    --------
    >>> import numpy as np
    >>> from pcam_features.learn.estimators import NystroemRidgeClassifier
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = (np.hypot(X[:, 0], X[:, 1]) < 1).astype(int)  # a disc: not linear
    >>> classifier = NystroemRidgeClassifier(n_landmarks=50, width=1.0).fit(X, y)
    >>> classifier.score(X, y) > 0.9
    True
    >>> classifier.predict_proba(X).shape
    (200, 2)
    """

    def __init__(
        self,
        n_landmarks: int = nystroem.LANDMARKS,
        width: float = WIDTH,
        penalty: float = PENALTY,
        random_state: Any = 0,
    ) -> None:
        self.n_landmarks = n_landmarks
        self.width = width
        self.penalty = penalty
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> NystroemRidgeClassifier:
        """Draw landmarks and fit their weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers, converted to float32.
        y : array-like of shape (n_samples,)
            Two classes of any type.

        Returns
        -------
        NystroemRidgeClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If `X` is not a table of finite numbers, `y` does not hold two classes, or a parameter is
            out of range.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=np.float32, order="C", ensure_min_samples=2)
        self.classes_, labels = encode_labels(y)
        prepared = nystroem.prepare(
            of_arrays({BLOCK: X}),
            [BLOCK],
            labels,
            np.zeros(len(labels), np.int16),
            seed=self._seed(),
            width=self.width,
            landmarks=self.n_landmarks,
        )
        self.model_ = kernel_ridge.train(prepared, self.penalty)
        return self

    def _check_parameters(self) -> None:
        if not is_whole(self.n_landmarks) or self.n_landmarks < 1:
            raise ValueError(f"n_landmarks is {self.n_landmarks!r}; give a whole number from 1.")
        for name in ("width", "penalty"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 < float(value) < np.inf:  # also true for NaN
                raise ValueError(f"{name} is {value!r}; give a number above 0.")

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the log-odds of the second class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The columns of `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log-odds, float64.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, order="C", reset=False)
        exact = replace(self.model_, landmarks=self.model_.landmarks.astype(np.float64))
        return exact.margin(X.astype(np.float64))


class PseudoSlideKFold(BaseCrossValidator):
    """Folds across slides, and across pseudo-slides where slides are unknown, as `pcam fit` makes them.

    Patches of one slide are never in two folds. Patches of unknown slide are grouped: near-duplicates
    first, then patches of similar stain and light, which form pseudo-slides. Folds are stratified by
    label.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, from 3 to 20.
    random_state : int, default=0
        Seed of the pseudo-slides and of the folds.
    appearance : DataFrame, ndarray or Looks, default=None
        What the patches look like, if `X` does not tell: see `split`. Give it where `X` holds images
        or other features, as in ``cross_val_score(pipeline, images, y, cv=splitter)``.

    See Also
    --------
    sklearn.model_selection.StratifiedGroupKFold : Deals the groups into folds.

    Examples
    --------
    >>> import numpy as np
    >>> from pcam_features.learn.estimators import APPEARANCE_COLUMNS, PseudoSlideKFold
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, len(APPEARANCE_COLUMNS)))
    >>> y = np.arange(300) % 2
    >>> splitter = PseudoSlideKFold(n_splits=3)
    >>> [len(test) for _, test in splitter.split(X, y)] == [len(f) for f in splitter.test_folds(X, y)]
    True
    >>> slides = np.repeat([f"slide {k}" for k in range(10)], 30)
    >>> train, test = next(splitter.split(X, y, groups=slides))
    >>> set(slides[train]) & set(slides[test])
    set()
    """

    __metadata_request__split = {"groups": True}  # noqa: RUF012 (read by scikit-learn's routing)

    def __init__(self, n_splits: int = FOLDS, *, random_state: int = 0, appearance: Any = None) -> None:
        self.n_splits = n_splits
        self.random_state = random_state
        self.appearance = appearance

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds. The arguments are ignored."""
        return self.n_splits

    @for_scikit_learn
    def folds(self, X: Any, y: Any, groups: Any = None) -> Folds:
        """Return each patch's group and fold, and a sentence about what a group is.

        Parameters
        ----------
        X, y, groups
            See `split`.

        Returns
        -------
        pcam_features.grouping.folds.Folds
            `group` and `fold` of shape (n_samples,), `count` and `protocol`.

        Raises
        ------
        InputError
            If there are too few groups or patches of a class, or `X` does not tell how patches look.
        """
        if not is_whole(self.n_splits) or not LEAST_FOLDS <= self.n_splits <= MOST_FOLDS:
            raise InputError(
                f"n_splits= is {self.n_splits!r}; give a whole number from {LEAST_FOLDS} to "
                f"{MOST_FOLDS}."
            )
        labels = encode_labels(y)[1].astype(np.float64)
        patches = pd.DataFrame(
            {
                "id": patch_ids(self._look(X), len(labels)),
                "label": labels,
                "slide": known_slides(groups, len(labels)),
            }
        )
        looks = None
        if patches["slide"].isna().any():
            looks = appearance_of(self._look(X), len(labels))
        return make_folds(patches, self.n_splits, self.random_state, looks)

    def _look(self, X: Any) -> Any:
        return X if self.appearance is None else self.appearance

    def test_folds(self, X: Any, y: Any, groups: Any = None) -> list[np.ndarray]:
        """Return the row numbers of each fold, in ascending order. See `split` for the arguments."""
        fold = self.folds(X, y, groups).fold
        return [np.flatnonzero(fold == k) for k in range(self.n_splits)]

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the row numbers to train on and to test on, for each fold.

        Parameters
        ----------
        X : DataFrame, ndarray or Looks
            What the patches look like, needed for patches of unknown slide. One of

            - a DataFrame with the columns of the family `color` (others are ignored). If its index
              holds strings, they are taken as ids of patches. The folds are those of `pcam fit` only
              with the ids that `pcam fit` has, because pseudo-slides depend on the order of ids.
            - an array with the columns of the family `color`, in their order.
            - an array with the columns `APPEARANCE_COLUMNS`, in their order: for each plane the mean,
              standard deviation, 5th and 95th percentile over the patch.
            - `pcam_features.grouping.appearance.Looks`.
        y : array-like of shape (n_samples,)
            Two classes.
        groups : array-like of shape (n_samples,), default=None
            The slide of each patch. None, NaN and an empty string mean that it is unknown.

        Yields
        ------
        train, test : ndarray
            Row numbers in ascending order.

        Raises
        ------
        InputError
            As `folds` does.
        """
        rows = self.folds(X, y, groups).fold
        for k in range(self.n_splits):
            yield np.flatnonzero(rows != k), np.flatnonzero(rows == k)


def is_whole(value: Any) -> bool:
    """Return whether this is a whole number, and not True or False."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def patch_ids(X: Any, rows: int) -> list[str]:
    """Return the ids in a DataFrame's index, or else row numbers that sort in their order."""
    if isinstance(X, pd.DataFrame) and X.index.is_unique:
        ids = X.index.tolist()
        if all(isinstance(i, str) for i in ids):
            return ids
    return [f"{k:010d}" for k in range(rows)]


def known_slides(groups: Any, rows: int) -> pd.Series:
    """Return the slide of each patch as a string, None where it is unknown; object (rows,).

    Raises
    ------
    InputError
        If there is not one group for each row.
    """
    if groups is None:
        return pd.Series([None] * rows, dtype=object)
    values = list(groups)
    if len(values) != rows:
        raise InputError(
            f"there are {counted(len(values), 'group')} for {counted(rows, 'patch')}; give one for "
            "each."
        )
    unknown = pd.isna(np.array(values, dtype=object))
    slides = [None if none else str(value) or None for value, none in zip(values, unknown, strict=True)]
    return pd.Series(slides, dtype=object)


def appearance_of(X: Any, rows: int) -> Looks:
    """Return the looks of patches from any of the forms that `PseudoSlideKFold.split` takes.

    Raises
    ------
    InputError
        If `X` is of no such form, or does not have `rows` rows of finite numbers.
    """
    if isinstance(X, Looks):
        if len(X.copies) != rows or len(X.slide) != rows:
            raise InputError(
                f"the appearance has {counted(len(X.copies), 'row')} for {counted(rows, 'patch')}."
            )
        return X
    if isinstance(X, pd.DataFrame):
        lacking = [name for name in APPEARANCE_COLUMNS if name not in X.columns]
        if lacking:
            raise InputError(
                f"the table lacks the column {lacking[0]}, which pseudo-slides are made from; "
                "add the features of the family color, or give the slide of every patch as groups."
            )
        values = X[list(APPEARANCE_COLUMNS)].to_numpy()
    else:
        values = appearance_array(np.asarray(X))
    if len(values) != rows or not np.isfinite(values).all():
        raise InputError(
            f"the appearance has to be {counted(rows, 'row')} of finite numbers, one for each patch."
        )
    return looks_of(values, APPEARANCE_COLUMNS)


def appearance_array(X: np.ndarray) -> np.ndarray:
    """Return the columns `APPEARANCE_COLUMNS` of an array that holds them or all of `color`.

    Raises
    ------
    InputError
        If the array has neither number of columns.
    """
    if X.ndim == 2 and X.shape[1] == len(APPEARANCE_COLUMNS):
        return X
    if X.ndim == 2 and X.shape[1] == len(COLOR_COLUMNS):
        return X[:, looked_at(COLOR_COLUMNS)]
    raise InputError(
        f"an array of shape {X.shape} does not tell how patches look; give a table with the columns of "
        f"the family color, an array of its {counted(len(COLOR_COLUMNS), 'column')} or of the "
        f"{len(APPEARANCE_COLUMNS)} APPEARANCE_COLUMNS, or the slide of every patch as groups."
    )
