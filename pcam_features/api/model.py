"""A fitted model: predictions, explanations, scores and its card."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa

from ..constants import Adapt, Device
from ..errors import InputError
from ..evaluate.predictions import Models
from ..execution.cluster import check_cluster
from ..execution.memory import check_room
from ..extraction.images import Images, images_of
from ..extraction.thumbnails import Thumbnails
from ..learn import bundle as bundles
from ..learn.blend import CLASSICAL
from ..learn.bundle import Bundle
from ..learn.explain_patch import PatchPlace, explain_values
from ..learn.explain_patch import explain as explain_stored
from ..learn.fit import networks_seen
from ..learn.names import IMPORTANCE, OUT_OF_FOLD
from ..learn.predict import (
    Predicted,
    ThisProcess,
    check_stored,
    cost,
    families_read,
    fitted_on,
    other_fit,
    out_of_fold,
    outside_log_odds,
    predict,
    predict_patches,
    seen_among,
)
from ..learn.stack import COMBINED
from ..learn.training_patches import training_copies
from ..report.card import card
from ..report.sentences import findings, not_above_chance, weights_of
from ..sources.source import Source, Split
from ..storage import costs, parquet, urls
from ..store.layout import MANIFEST as STORE_MANIFEST
from ..store.store import Store
from ..store.values import Values, of_arrays
from ..words import counted, message_of
from .arguments import (
    check_log,
    check_numbers,
    check_path,
    check_progress,
    check_scale,
    check_text,
)
from .data import Log, open_source, open_store, opened_store, unheard
from .explaining import Explanation, is_file, picture_of
from .features import Choice, is_source_path, patches_in, table_of
from .messages import for_python, warn
from .predict_cluster import crew_for, source_split, stored_split
from .predicting import (
    NOT_ADAPTED,
    NOT_BLENDED,
    Computing,
    SplitPredictions,
    adapt_named,
    families_of,
    log_learned,
    measured_values,
    names_to_adapt_to,
    only_split,
    warn_of_adaptation,
)
from .progress import Progress


class Markdown(str):
    """A text in Markdown, which a notebook renders."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


class Model:
    """A fitted model; `fit` and `open_model` return it.

    Parameters
    ----------
    path
        The model's folder.
    bundle
        Its content.
    """

    def __init__(self, path: Path, bundle: Bundle) -> None:
        self.path, self.bundle = path, bundle

    classes_ = np.array([0, 1])

    @property
    def families(self) -> list[str]:
        """The families of features that the model takes."""
        return list(self.bundle.families)

    @property
    def columns(self) -> list[str]:
        """The columns of features that the model takes, in order."""
        records = self.bundle.manifest.families.values()
        return [column for record in records for column in record.columns]

    @property
    def scores(self) -> pd.DataFrame:
        """The AUC of each base model and of `combined`, out of fold, with its interval over groups.

        With outside predictions there are also rows for each of their models and for `classical`, the
        base models together; `weight` is then the weight of these parts in `combined`.
        """
        aucs = self.bundle.manifest.out_of_fold_auc
        weights = weights_of(self.bundle.manifest)
        rows = [
            {"auc": auc.value, "low": auc.low, "high": auc.high, "weight": weights.get(name)}
            for name, auc in aucs.items()
        ]
        return pd.DataFrame(rows, index=pd.Index(list(aucs), name="model"), dtype=float)

    @property
    def findings(self) -> list[str]:
        """What came of the fit, in sentences, as `pcam fit` prints them.

        The first is a warning if the AUC of `combined` is not above chance.
        """
        return findings(self.bundle.manifest)

    @property
    def card(self) -> Markdown:
        """The model's card: data, protocol, scores, what it goes by, and what it is not for."""
        return Markdown(card(self.bundle.manifest))

    @cached_property
    def out_of_fold(self) -> pd.DataFrame:
        """The predictions for the patches of the fit, each by models that have not learned from it.

        A column of probabilities for each base model, and `combined`; indexed by id. With outside
        predictions also `classical`, the base models together, and a column for each outside model.
        """
        return self._table(OUT_OF_FOLD, self.bundle.manifest.source.rows).set_index("id")

    @property
    def importance(self) -> pd.DataFrame:
        """How much each column moves predictions; indexed by the column's name."""
        return self._table(IMPORTANCE, len(self.columns)).set_index("column")

    def _table(self, name: str, rows: int) -> pd.DataFrame:
        """A table of the model with so many rows. Raises InputError if it is damaged."""
        content = bundles.read_file(self.path, self.bundle.manifest, name)
        return read_frame(self.path / name, content, rows)

    @for_python
    def predict_proba(
        self,
        data: Any,
        *,
        split: str | None = None,
        fit: str | None = None,
        mpp: float | None = None,
        adapt: Adapt | str = "none",
        outside: Models | None = None,
        encoder: str | None = None,
        device: Device | str = "auto",
        threads: int = 0,
        progress: Progress = "bar",
    ) -> np.ndarray:
        """Predict the probabilities of normal and of tumor, as scikit-learn's classifiers do.

        Predictions for patches that the model was trained on are too good: use `out_of_fold` or
        `predict_split` for them. A UserWarning says so where their ids are known.

        Parameters
        ----------
        data
            Images, as `features` takes them; a source, or its path; a feature store; or a table with
            the model's columns. Features that are not there are computed.
        split
            For a source or a store: its split. Not needed where there is one only.
        fit, mpp
            How images of another size are brought to 96×96 pixels; see `features`. Default: as the
            patches that the model was fitted on.
        adapt
            Whether columns are brought to the training patches' moments first; see `predict_split`.
            "slide" needs a source or a store with slides.
        outside
            For a model that was fitted with predictions of other models: theirs for these patches, as a
            mapping from name to a Series by id, an array in the order of `data`, or a CSV; or a list of
            "NAME=FILE".
        encoder
            For a model that takes embeddings of an ONNX file, a timm network or a network of
            `fit_network`: the encoder.
        device, threads, progress
            See `features`.

        Returns
        -------
        numpy.ndarray
            float64 (n, 2), in the order of `data`.

        Raises
        ------
        InputError
            For data that are not patches, or without the model's features.
        """
        choice = self._choice(split, fit, mpp)
        how = Computing(choice, encoder, device, threads, progress, adapt_named(adapt), outside)
        tumor = self._probabilities(data, how).to_numpy()
        return np.column_stack([1 - tumor, tumor])

    @for_python
    def probabilities(
        self,
        data: Any,
        *,
        split: str | None = None,
        fit: str | None = None,
        mpp: float | None = None,
        adapt: Adapt | str = "none",
        outside: Models | None = None,
        encoder: str | None = None,
        device: Device | str = "auto",
        threads: int = 0,
        progress: Progress = "bar",
    ) -> pd.Series[float]:
        """Predict the probability of tumor, by id.

        Parameters
        ----------
        data, split, fit, mpp, adapt, outside, encoder, device, threads, progress
            See `predict_proba`.

        Returns
        -------
        pandas.Series
            The probability of tumor, indexed by the ids of a source or a store, by a table's index, or
            by an image's position. `compare` takes such a series.

        Raises
        ------
        InputError
            As `predict_proba`.
        """
        choice = self._choice(split, fit, mpp)
        how = Computing(choice, encoder, device, threads, progress, adapt_named(adapt), outside)
        return self._probabilities(data, how)

    @for_python
    def predict_split(
        self,
        data: Store | Source | str | Path,
        split: str = "test",
        *,
        adapt: Adapt | str = "none",
        outside: Models | None = None,
        slides: str | Path | None = None,
        fit: str | None = None,
        mpp: float | None = None,
        encoder: str | None = None,
        device: Device | str = "auto",
        threads: int = 0,
        cluster: Any = None,
        progress: Progress = "bar",
        log: Log = unheard,
    ) -> SplitPredictions:
        """Predict a split of a feature store or of a source as `pcam predict` does.

        Patches that the model was fitted on get their out-of-fold predictions. Features of a source are
        computed batch by batch and not kept, so that memory does not grow with the number of patches.
        Only families of base models with a share in the combination are computed or read.

        Parameters
        ----------
        data
            A feature store with the model's families, a source, or the path of one of them.
        split
            The split.
        adapt
            "split" or "slide" brings the columns of the split, or of each slide, to the mean and the
            deviation of the training patches, for a laboratory or scanner that the model has not seen;
            "none" does not. Each prediction then depends on the other patches, and features of a source
            are kept in a temporary folder during the call.
        outside
            For a model that was fitted with predictions of other models: theirs for this split; see
            `predict_proba`.
        slides, fit, mpp
            For the path of a source; see `open_source`. Default of `fit` and `mpp`: as the patches that
            the model was fitted on.
        encoder
            For a source, and a model that takes embeddings of an ONNX file, a timm network or
            a network of `fit_network`: the encoder.
        device
            Where the features of a source are computed: "auto", "cpu" or "cuda".
        threads
            Number of threads; 0 is one for each core.
        cluster
            A Dask cluster that predicts; see `extract`. Its workers need the model and the store or
            source under the same paths. `threads` is then the number of threads of each unit of work,
            by default one. Features of a source that are adapted are computed twice.
        progress
            See `features`; for a source, or a cluster.
        log
            Called with sentences on what the predictions are; `print` prints them.

        Returns
        -------
        SplitPredictions
            The probabilities of tumor, and whether they are out-of-fold predictions.

        Raises
        ------
        InputError
            For a store that lacks the model's features, or has others; for a source whose patches
            cannot be read; for a cluster whose workers lack what they need.
        PcamError
            If the scheduler or the workers of a cluster are gone.
        """
        check_room()
        check_numbers(threads=threads)
        check_log(log)
        if cluster is not None:
            check_cluster(cluster)
        check_progress(progress)
        check_text(split=split, encoder=encoder)
        choice = self._choice(split, fit, mpp)
        how = Computing(
            choice, encoder, device, threads, progress, adapt_named(adapt), outside, cluster
        )
        if isinstance(data, str | Path):
            check_path("data", data, "a feature store, a source or the path of one of them")
        if isinstance(data, Store) or is_store(data):
            if (slides, fit, mpp, encoder) != (None,) * 4:
                raise InputError(
                    "--slides, --fit, --mpp and --encoder are for a source, and a feature store was "
                    "given; leave them out."
                )
            return self._predict_stored(opened_store(data), split, how, log)
        if not isinstance(data, Source):
            data = self.open_source(data, slides=slides, fit=fit, mpp=mpp, progress=progress, log=log)
        elif (slides, fit, mpp) != (None,) * 3:
            raise InputError("--slides, --fit and --mpp are for a path; give them to open_source.")
        return self._predict_source(data, how, log)

    @for_python
    def open_source(
        self,
        path: str | Path,
        *,
        fit: str | None = None,
        mpp: float | None = None,
        **options: Any,
    ) -> Source:
        """Open a source whose patches are to be predicted.

        Parameters
        ----------
        path
            The path of the source.
        fit, mpp
            How its patches are brought to 96×96 pixels. Default: as those of the fit were.
        options
            The other options of `open_source`, such as `kind` and `label_column`.

        Returns
        -------
        Source
            The source, for `predict_proba` and `predict_split`.

        Raises
        ------
        InputError
            If there is no source, or it is damaged.
        """
        choice = self._choice(None, fit, mpp)
        return open_source(path, fit=choice.fit, mpp=choice.mpp, **options)

    def _predict_stored(self, store: Store, split: str, how: Computing, log: Log) -> SplitPredictions:
        """Predict a split of a store."""
        ids = store.patches(split)["id"].tolist()
        if fitted_on(self.bundle, store, split):
            return self._out_of_fold(ids, how, log)
        self._log_doubts(ids, store.manifest.source.fit, log)
        read = families_read(self.bundle, how.adapt)
        for name, seen in networks_seen(store, split, read).items():
            log_learned(name, seen, log)
        copies = self._copies(store.thumbnails(split), log)
        began, crew = time.monotonic(), None
        threads = how.threads or joblib.cpu_count()
        with ExitStack() as stack:
            if how.cluster is not None:
                check_stored(self.bundle, store, split, how.adapt)
                given = stored_split(self.bundle, store, split, how)
                crew = stack.enter_context(crew_for(self.path, given, len(ids), how, log))
            _, found = predict(self.bundle, store, split, threads, how.adapt, how.outside, crew)
        each = None
        if crew is None:
            seconds = time.monotonic() - began
            measuring = costs.measuring_seconds(store.path, read)
            each = None if measuring is None else measuring + seconds / len(ids)
        where = None if how.cluster is not None else costs.cpu_name(threads)
        return self._found(ids, found, each, where, copies, log)

    def _predict_source(self, source: Source, how: Computing, log: Log) -> SplitPredictions:
        """Predict a split of a source."""
        part = source.split(str(how.choice.split))
        if part.fingerprint()["ids"] == self.bundle.manifest.source.fingerprint.ids:
            return self._out_of_fold(part.ids, how, log)
        self._log_doubts(part.ids, source.fit.to_dict() if source.fit else None, log)
        known, read = self.bundle.manifest.families, families_read(self.bundle, how.adapt)
        trained = [name for name in read if known[name].is_trained]
        for family in families_of(self.bundle, trained, how.encoder):
            if family.trained_on is not None:
                log_learned(family.name, family.trained_on.among(part), log)
        names = names_to_adapt_to(part, how)
        others = outside_log_odds(self.bundle, how.outside, part.ids, f"split {part.name!r}")
        if how.cluster is None:
            found, seconds = self._predict_images([part], names, how, others, thumbnails=True)
            each = seconds / len(part)
        else:
            given = source_split(self.bundle, source, part, how)
            with crew_for(self.path, given, len(part), how, log) as crew:
                found = predict_patches(crew, self.bundle, names, how.adapt, others)
            each = None
        copies = self._copies(found.thumbnails, log)
        return self._found(part.ids, found, each, how.where, copies, log)

    def _found(
        self,
        ids: list[str],
        found: Predicted,
        seconds: float | None,
        device: str | None,
        copies: np.ndarray | None,
        log: Log,
    ) -> SplitPredictions:
        """The predictions of a split. `seconds` is the time for a patch."""
        if found.adaptation is not None:
            log(f"adaptation: {found.adaptation.sentence()}")
        paid = cost(self.path, seconds, device, found.adaptation, self.bundle.outside)
        return SplitPredictions(ids, found.probabilities, False, paid, found.adaptation, copies)

    def _out_of_fold(self, ids: list[str], how: Computing, log: Log) -> SplitPredictions:
        """The out-of-fold predictions of the patches that the model was fitted on."""
        if how.adapt != Adapt.none:
            raise InputError(NOT_ADAPTED)
        if how.outside is not None:
            raise InputError(NOT_BLENDED)
        log("the model was fitted on these patches: these are its out-of-fold predictions")
        device = costs.cpu_name(how.threads or joblib.cpu_count())
        paid = cost(self.path, None, device, None, self.bundle.outside)
        return SplitPredictions(ids, out_of_fold(self.bundle, self.path, ids), True, paid)

    def _log_doubts(self, ids: Sequence[str], fit: dict[str, Any] | None, log: Log) -> None:
        """Say if the model has learned from some patches, or if their scale is not the model's."""
        if seen := seen_among(self.bundle, self.path, ids):
            log(
                f"warning: the model was trained on {seen:,} of these patches; scores on them are too "
                "optimistic"
            )
        if scale := other_fit(self.bundle, fit):
            log(f"warning: {scale}")

    def _copies(self, small: np.ndarray | None, log: Log) -> np.ndarray | None:
        """Say how many patches, given by their thumbnails, are near-duplicates of training patches."""
        found = training_copies(self.path, self.bundle.manifest, small)
        log(found.sentence())
        return found.is_copy

    def _predict_images(
        self,
        parts: Sequence[Images],
        names: Sequence[Any],
        how: Computing,
        outside: np.ndarray | None,
        *,
        thumbnails: bool = False,
    ) -> tuple[Predicted, float]:
        """Predict images part by part; returns the seconds, too.

        `names` are those of `names_to_adapt_to`, and `outside` is from `outside_log_odds`.
        """
        families = families_of(self.bundle, families_read(self.bundle, how.adapt), how.encoder)
        if thumbnails:
            families.append(Thumbnails())
        names = names or ["all"] * sum(len(part) for part in parts)
        with measured_values(parts, families, how) as values:
            began = time.monotonic()
            if not values.rows:
                return Predicted(np.zeros(0)), 0.0
            here = ThisProcess(self.bundle, values, how.threads or joblib.cpu_count())
            found = predict_patches(here, self.bundle, names, how.adapt, outside)
            return found, time.monotonic() - began

    @for_python
    def explain(
        self,
        patch: Any,
        *,
        store: Store | str | Path | None = None,
        split: str | None = None,
        source: str | Path | None = None,
        fit: str | None = None,
        mpp: float | None = None,
        encoder: str | None = None,
        device: Device | str = "auto",
        threads: int = 0,
        log: Log = unheard,
    ) -> Explanation:
        """Explain the prediction for one patch by the columns that moved it most.

        Parameters
        ----------
        patch
            An image, as `features` takes them; or the id of a patch in `store`.
        store
            The feature store that holds the patch.
        split
            The patch's split in `store`. Default: whichever has it.
        source
            Where the picture of a stored patch is. Default: where the store was made from.
        fit, mpp, encoder, device, threads
            See `predict_proba`.
        log
            Called with a sentence if there is no picture; `print` prints it.

        Returns
        -------
        Explanation
            A notebook shows its picture and a table; `columns` is that table.

        Raises
        ------
        InputError
            For a patch that is not in the store, or no image.
        """
        check_room()
        check_numbers(threads=threads)
        check_text(split=split, encoder=encoder)
        check_log(log)
        if store is not None:
            opened = opened_store(store)
            if not isinstance(patch, str | int):
                raise InputError(
                    f"with store=, patch= is the id of a patch, not {type(patch).__name__}; leave out "
                    "store= to explain an image."
                )
            self._log_outside(log)
            record = explain_stored(self.bundle, self.path, opened, str(patch), split)
            return Explanation(record, picture_of(opened, record, source, log))
        if isinstance(patch, str) and not is_file(patch):
            raise InputError(
                f"there is no image file {patch!r}; to explain a stored patch by its id, give store=."
            )
        self._log_outside(log)
        choice = self._choice(None, fit, mpp)
        images = images_of(patch, choice.fit, choice.mpp)
        if len(images) != 1:
            raise InputError(f"explain takes one image, not {len(images)}; explain them one by one.")
        how = Computing(replace(choice, fit=None, mpp=None), encoder, device, threads, None)
        table = self._measured(images, how)
        place = PatchPlace("image", "not in a store", 0)
        record = explain_values(self.bundle, self._values(table), place)
        return Explanation(record, images.read(0, 1)[0])

    def _log_outside(self, log: Log) -> None:
        """Say that an explanation is of the classical part alone, if there are others."""
        if outside := self.bundle.outside:
            log(
                f"this explains the probability by the base models together ({CLASSICAL}); the model's "
                f"predictions also depend on {', '.join(outside)}"
            )

    @for_python
    def was_fitted_on(self, store: Store | str | Path, split: str) -> bool:
        """Whether the patches of a store's split are those that the model was fitted on."""
        return fitted_on(self.bundle, opened_store(store), split)

    def _choice(self, split: str | None, fit: str | None, mpp: float | None) -> Choice:
        """How images are brought to 96×96 pixels: as asked, or as those of the fit were."""
        check_scale(mpp)
        known = self.bundle.manifest.source.source.fit
        if fit is None and mpp is None and known is not None:
            return Choice(split, known["how"], known["mpp"])
        return Choice(split, fit, mpp)

    def _probabilities(self, data: Any, how: Computing) -> pd.Series[float]:
        check_numbers(threads=how.threads)
        check_progress(how.progress)
        check_text(split=how.choice.split, encoder=how.encoder)
        threads = how.threads or joblib.cpu_count()
        if isinstance(data, str | Path):
            check_path("data", data, "images, a source, a feature store or a table")
            data = open_store(data) if is_store(data) else data
        if isinstance(data, Store):
            split = only_split(data.splits, how.choice.split)
            if how.adapt != Adapt.none and fitted_on(self.bundle, data, split):
                raise InputError(NOT_ADAPTED)
            ids, found = predict(self.bundle, data, split, threads, how.adapt, how.outside)
            warn_of_adaptation(found.adaptation)
            self._warn(ids, data.manifest.source.fit)
            return pd.Series(found.probabilities, index=pd.Index(ids, name="id"), name="probability")
        if is_source_path(data):
            choice = how.choice
            data = open_source(data, fit=choice.fit, mpp=choice.mpp, progress=how.progress)
        self._warn_of(data, how.choice.split)
        names = names_to_adapt_to(data, how)  # before features are computed: it may refuse
        if not isinstance(data, pd.DataFrame):
            return self._of_images(data, names, how)
        tumor = np.zeros(0)
        if len(data):
            names = names or ["all"] * len(data)
            values = self._values(data)
            others = outside_log_odds(
                self.bundle, how.outside, list(data.get("id", data.index)), "the table"
            )
            here = ThisProcess(self.bundle, values, threads)
            found = predict_patches(here, self.bundle, names, how.adapt, others)
            warn_of_adaptation(found.adaptation)
            tumor = found.probabilities
        return pd.Series(tumor, index=data.index, name="probability")

    def _of_images(self, images: Any, names: Sequence[Any], how: Computing) -> pd.Series[float]:
        """The probabilities of images, by id or position."""
        choice = replace(how.choice, fit=None, mpp=None) if isinstance(images, Source) else how.choice
        found = patches_in(images, choice)
        indexes = [index for _, index in found]
        index = indexes[0].append(indexes[1:])
        others = outside_log_odds(self.bundle, how.outside, list(index), "the data")
        made, _ = self._predict_images([patches for patches, _ in found], names, how, others)
        warn_of_adaptation(made.adaptation)
        return pd.Series(made.probabilities, index=index, name="probability")

    def _warn_of(self, data: Any, split: str | None) -> None:
        """Warn as `_warn` of a source or a split of one, and of a table with ids."""
        if isinstance(data, Source):
            ids = [patch for part in data.only(split) for patch in part.ids]
            self._warn(ids, data.fit.to_dict() if data.fit else None)
        elif isinstance(data, Split):
            self._warn(data.ids, self.bundle.manifest.source.source.fit)
        elif isinstance(data, pd.DataFrame):
            self._warn(list(data.get("id", data.index)), self.bundle.manifest.source.source.fit)

    def _warn(self, ids: Sequence[Any], fit: dict[str, Any] | None) -> None:
        """Warn of patches that the model was trained on, and of a scale that is not the model's."""
        if seen := seen_among(self.bundle, self.path, ids):
            some = (
                "these patches"
                if seen == len(ids)
                else f"{seen:,} of these {counted(len(ids), 'patch')}"
            )
            warn(
                f"the model was trained on {some}, as their ids tell, and their predictions are too "
                "good; use out_of_fold or predict_split, which predict each patch by models that have "
                "not learned from it."
            )
        if scale := other_fit(self.bundle, fit):
            warn(f"{scale}.")

    def _measured(self, images: Any, how: Computing) -> pd.DataFrame:
        """The model's features of images."""
        families = families_of(self.bundle, self.families, how.encoder)
        return table_of(
            images,
            families,
            replace(how.choice, fit=None, mpp=None) if isinstance(images, Source) else how.choice,
            device=how.device,
            threads=how.threads,
            progress=how.progress,
        )

    def _values(self, table: pd.DataFrame) -> Values:
        """The model's columns of a table, by family. Raises InputError if some are missing."""
        missing = [column for column in self.columns if column not in table]
        if missing:
            raise InputError(
                f"the table lacks {len(missing):,} of the model's "
                f"{counted(len(self.columns), 'column')}, the "
                f"first {missing[0]}; compute features of families "
                f"{','.join(self.families)}."
            )
        if not table.columns.is_unique:
            twice = table.columns[table.columns.duplicated()][0]
            raise InputError(f"the table has two columns named {twice}; keep one.")
        try:
            arrays = {
                name: table[list(record.columns)].to_numpy(np.float32)
                for name, record in self.bundle.manifest.families.items()
            }
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the model's columns of the table are not all numbers ({message_of(error)}); compute "
                "features anew."
            ) from None
        if not all(np.isfinite(values).all() for values in arrays.values()):
            raise InputError("the table holds NaN or infinity in the model's columns; compute it anew.")
        return of_arrays(arrays)

    def __repr__(self) -> str:
        combined = self.scores.loc["combined"]
        return (
            f"<pcam model {self.path}: AUC {combined['auc']:.4f} out of fold "
            f"[{combined['low']:.4f}, {combined['high']:.4f}], {counted(len(self.columns), 'column')}>"
        )

    def _repr_html_(self) -> str:
        source = self.bundle.manifest.source
        scores = self.scores.to_html(border=0, float_format=lambda value: f"{value:.4f}", na_rep="")
        warning = not_above_chance(self.bundle.manifest.out_of_fold_auc[COMBINED])
        return (
            f"<p>Model {escape(str(self.path))}, fitted on {counted(source.rows, 'patch')} of "
            f"{escape(source.path)}. AUC out of fold:</p>{scores}"
            + "".join(f"<p><strong>{escape(sentence)}.</strong></p>" for sentence in warning)
        )


def is_store(path: Any) -> bool:
    """Whether this is the path of a feature store."""
    return isinstance(path, str | Path) and urls.is_file(Path(path) / STORE_MANIFEST)


def read_frame(file: Path, content: bytes, rows: int) -> pd.DataFrame:
    """A Parquet file of a model with so many rows, by its content. Raises InputError for any other."""
    try:
        table: pd.DataFrame = parquet.read(parquet.open_file(content)[0], rows=rows).to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = message_of(error)
        raise InputError(f"{file} cannot be read: {reason}; fit the model anew.") from None
    return table


@for_python
def open_model(path: str | Path) -> Model:
    """Open a fitted model.

    Parameters
    ----------
    path
        The model's folder.

    Returns
    -------
    Model
        The model.

    Raises
    ------
    InputError
        If there is no model, or it is damaged or of another version.

    Examples
    --------
    >>> import pcam_features as pcam
    >>> store = pcam.extract("synthetic:120:12", "features", families="color")
    >>> model = pcam.fit(store, "model", folds=3)
    >>> pcam.open_model("model").predict_proba(store, split="test").shape
    (30, 2)
    """
    check_path("path", path, "the path of a model")
    urls.check_local(path, "a model to read")
    return Model(Path(path), bundles.read(Path(path)))
