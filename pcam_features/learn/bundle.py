"""The model bundle: a folder that opens without running code.

manifest.json            what it was fitted on and how, the stack, scores, the sums of all files
                         below and its own; a file is read only if it has its sum
<group>/trees.ubj        XGBoost's own format
<group>/landmarks.npy    float32 rows: each column's mean, its scale, then standardized landmarks
<group>/weights.npy      float64: the intercept, the width, then a weight for each landmark
moments.npy              float32: mean and deviation of each column over the patches without their
                         changed copies; only if it learned from copies
known_answers.npy        float32: a few rows of features; the manifest has what the model says of them
thumbnails.npy           uint8: gray thumbnails of the training patches, by which copies are found;
                         only if the feature store has them
folds.parquet            id, label, slide, group, fold
out_of_fold.parquet      id, each base model's probability, and that of all combined, `combined`
importance.parquet       column, family, gain, contribution
search.sqlite            the trials of a search, if there was one

cost.json, which has a sum of its own, says how long the fit took.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError, PcamError
from ..storage.files import read_json, sha256
from ..storage.links import check_read
from ..storage.resumable import check_result, unfinished
from ..storage.sums import FileSum, check_sum, read_verified, write_bytes, write_sealed
from ..store.values import Values
from . import known_answers
from .base_models import (
    MODEL_CLASSES,
    Place,
    base_models,
    families_needed,
    sharing,
    sharing_logits,
)
from .known_answers import KnownAnswers
from .manifest import ModelManifest
from .names import KEY, KNOWN_ANSWERS, MANIFEST, MOMENTS, WHAT
from .protocol import BaseModel
from .safe_files import LARGEST_FILE, parse_array, write_array
from .stack import Stack


@dataclass(frozen=True)
class Bundle:
    """A fitted model.

    Parameters
    ----------
    manifest
        What it was fitted on and how, and its scores.
    models
        The base models by name.
    moments
        Mean and deviation of each column over the patches alone, (columns,) each, if the models learned
        from changed copies of patches as well.
    """

    manifest: ModelManifest
    models: dict[str, BaseModel]
    moments: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def stack(self) -> Stack:
        """How the base models are combined and calibrated."""
        return self.manifest.stack

    @property
    def families(self) -> list[str]:
        """The families that the model takes, in their order."""
        return list(self.manifest.families)

    @property
    def sharing(self) -> dict[str, Place]:
        """The base models that predictions depend on: those with a share; all if none has one."""
        return sharing(self.families, self.stack.weight_of)

    @property
    def families_needed(self) -> list[str]:
        """The families that predictions depend on, in their order."""
        return families_needed(self.families, self.stack.weight_of)

    def logits(self, values: Values, threads: int) -> np.ndarray:
        """The log-odds of label 1 by each base model, float64 (rows, models).

        Models without a share are not evaluated; their column is 0. `values` needs `families_needed`.
        """
        return sharing_logits(self.models, self.stack.weight_of, self.families, values, threads)

    @property
    def outside(self) -> tuple[str, ...]:
        """The outside models whose predictions this model takes as well."""
        record = self.manifest.outside
        return () if record is None else tuple(record.models)

    def probability(self, logits: np.ndarray, outside: np.ndarray | None) -> np.ndarray:
        """The probability of tumor, float64 (rows,).

        Parameters
        ----------
        logits
            Of `logits`.
        outside
            The log-odds by each model of `outside`, (rows, models); None if there are none.
        """
        blend = self.manifest.blend
        if blend is None:
            return self.stack.probability(logits)
        if outside is None:
            raise ValueError(f"there are no predictions of {', '.join(self.outside)}")
        return blend.stack.probability(np.column_stack([self.stack.together(logits), outside]))

    def check_answers(self, path: Path) -> None:
        """Ask the model of `path` what it knows the answers to.

        Raises
        ------
        InputError
            If it answers otherwise than when it was made, or its questions are damaged.
        """
        content = read_file(path, self.manifest, KNOWN_ANSWERS)
        known = self.manifest.known_answers
        widths = {name: len(self.manifest.families[name].columns) for name in self.families_needed}
        values = known_answers.read_questions(content, len(known.probabilities), widths)
        now = KnownAnswers.of(self.logits(values, threads=1), self.stack, self.sharing)
        known_answers.check(path, known, now, self.manifest.versions, version)

    def training_moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each column of the training patches, (columns of all families,) each.

        Changed copies of the patches are not counted.

        Raises
        ------
        InputError
            If an older version of pcam fitted it with copies, and kept only moments of both together.
        """
        if self.moments is not None:
            return self.moments
        if self.manifest.copies:
            raise InputError(
                "the model was fitted with changed copies by an older version of pcam, which did not "
                "keep the moments of the patches alone; fit it anew."
            )
        width = sum(len(record.columns) for record in self.manifest.families.values())
        known = [model.moments() for model in self.models.values() if model.width == width]
        return next(moments for moments in known if moments is not None)


def check_free(path: Path, *, overwrite: bool) -> None:
    """Check before a fit that its model can be written.

    Raises
    ------
    InputError
        If `path` is in use, and is not a model or `overwrite` is false.
    """
    check_result(path, overwrite=overwrite, what=WHAT, mark=MANIFEST, key=KEY)


def model_sum(path: Path) -> str:
    """The SHA-256 of a model's manifest, which has the sums of all its files."""
    return sha256((path / MANIFEST).read_bytes())


def model_files(folder: Path, families: Iterable[str]) -> list[Path]:
    """The files of the base models of some families in a model's folder."""
    return [
        file
        for place in base_models(list(families)).values()
        for file in MODEL_CLASSES[place.kind].files(folder, place.group)
    ]


def write_table(folder: Path, name: str, table: pd.DataFrame) -> FileSum:
    """Write a table of a model as Parquet; returns its sum."""
    content: bytes = table.to_parquet(index=False)
    return write_bytes(folder / name, content, folder)


def write_moments(folder: Path, mean: np.ndarray, scale: np.ndarray) -> FileSum:
    """Write the mean and deviation of each column over the patches without their changed copies."""
    return write_array(folder, folder / MOMENTS, np.stack([mean, scale]).astype("<f4"))


def read_moments(path: Path, manifest: ModelManifest) -> tuple[np.ndarray, np.ndarray] | None:
    """Read what `write_moments` wrote, if the model has it.

    Raises InputError or ValueError if the file holds anything else."""
    if MOMENTS not in manifest.files:
        return None
    moments = parse_array(read_file(path, manifest, MOMENTS), "<f4")
    columns = sum(len(record.columns) for record in manifest.families.values())
    if moments.shape != (2, columns) or not np.isfinite(moments).all() or (moments[1] <= 0).any():
        raise ValueError(f"{MOMENTS} does not hold means and deviations of {columns} columns")
    return moments[0], moments[1]


def write_manifest(folder: Path, manifest: ModelManifest, sums: Mapping[str, FileSum]) -> ModelManifest:
    """Write the manifest, which makes a folder a model, once all its files are written.

    Parameters
    ----------
    folder, manifest
        The model's folder, and its manifest without sums.
    sums
        The sum of each file, by its name in the folder, as it was when the file was made.

    Returns
    -------
    ModelManifest
        The manifest with these sums.

    Raises
    ------
    PcamError
        If a file has another content by now.
    """
    for name, known in sums.items():
        try:
            check_sum(folder / name, known)
        except ValueError as error:
            raise PcamError(
                f"{folder / name} was damaged during the fit ({error}); run the same fit again, which "
                "makes it again."
            ) from None
    whole = replace(manifest, files=dict(sums))
    write_sealed(folder / MANIFEST, whole.to_dict(), folder)
    return whole


def read(path: Path) -> Bundle:
    """Open a model.

    Parameters
    ----------
    path
        The folder that `pcam fit` made.

    Raises
    ------
    InputError
        If `path` is not a model, or it is damaged or of another version, or the libraries here do not
        read it as those that wrote it.
    """
    manifest = read_manifest(path)
    models: dict[str, BaseModel] = {}
    try:
        for name, place in base_models(list(manifest.families)).items():
            model_class = MODEL_CLASSES[place.kind]
            for file in model_class.files(path, place.group):
                read_file(path, manifest, file.relative_to(path).as_posix())
            models[name] = model_class.load(path, place.group)
            columns = sum(len(manifest.families[family].columns) for family in place.families)
            if models[name].width != columns:
                raise ValueError(f"model {name} does not take {columns} columns")
        opened = Bundle(manifest, models, read_moments(path, manifest))
        opened.check_answers(path)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"model {path} is damaged ({error}); fit it anew.") from None
    return opened


def read_manifest(path: Path) -> ModelManifest:
    """Read a model's manifest. Raises InputError as `read`."""
    if not (path / MANIFEST).is_file():
        begun = unfinished(path)
        hint = f"run the fit of {begun} again" if begun.exists() else "make one with pcam fit"
        raise InputError(f"{path} is not a model (no {MANIFEST}); {hint}.")
    check_read(path)
    return ModelManifest.from_dict(
        read_json(path / MANIFEST, "model manifest", "fit the model anew"), path
    )


def read_file(path: Path, manifest: ModelManifest, name: str) -> bytes:
    """Read a file of a model.

    Parameters
    ----------
    path, manifest
        The model's folder and its manifest.
    name
        The file's name in the folder.

    Returns
    -------
    bytes
        The content, which has the sum that the manifest lists.

    Raises
    ------
    InputError
        If the file is missing, damaged, too large, or not listed.
    """
    known = manifest.files.get(name)
    try:
        if known is None:
            raise ValueError("the manifest does not list it")
        if known.size > LARGEST_FILE:
            raise ValueError("it is too large to be part of a model")
        return read_verified(path / name, known)
    except ValueError as error:
        raise InputError(f"model {path} is damaged ({name}: {error}); fit it anew.") from None
