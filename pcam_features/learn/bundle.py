"""The model bundle: a folder that opens without running code.

manifest.json            what it was fitted on and how, the stack, scores, checksums
<group>/trees.ubj        XGBoost's own format
<group>/landmarks.npy    float32 rows: each column's mean, its scale, then standardized landmarks
<group>/weights.npy      float64: the intercept, the width, then a weight for each landmark
moments.npy              float32: mean and deviation of each column over the patches without their
                         changed copies; only if it learned from copies
known_answers.npy        float32: a few rows of features; the manifest has what the model says of them
folds.parquet            id, label, slide, group, fold
out_of_fold.parquet      id, each base model's probability, and that of all combined, `combined`
importance.parquet       column, family, gain, contribution
search.sqlite            the trials of a search, if there was one
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..storage import files
from ..storage.files import read_json, sha256, whole_file, write_json
from ..storage.resumable import unfinished
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
from .safe_files import parse_array, read_content, write_array
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

    def check_answers(self, path: Path) -> None:
        """Ask the model of `path` what it knows the answers to.

        Raises
        ------
        InputError
            If it answers otherwise than when it was made, or its questions are damaged.
        """
        check_sums(path, [path / KNOWN_ANSWERS], self.manifest.sha256)
        known = self.manifest.known_answers
        widths = {name: len(self.manifest.families[name].columns) for name in self.families_needed}
        values = known_answers.read_questions(
            path, path / KNOWN_ANSWERS, len(known.probabilities), widths
        )
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
    files.check_free(path, overwrite=overwrite, what=WHAT, mark=MANIFEST, key=KEY)


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write a table of a model as Parquet."""
    with whole_file(folder / name) as temporary:
        table.to_parquet(temporary, index=False)


def write_moments(folder: Path, mean: np.ndarray, scale: np.ndarray) -> None:
    """Write the mean and deviation of each column over the patches without their changed copies."""
    write_array(folder / MOMENTS, np.stack([mean, scale]).astype("<f4"))


def read_moments(path: Path, manifest: ModelManifest) -> tuple[np.ndarray, np.ndarray] | None:
    """Read what `write_moments` wrote, if the model has it.

    Raises InputError or ValueError if the file holds anything else."""
    if MOMENTS not in manifest.sha256:
        return None
    check_sums(path, [path / MOMENTS], manifest.sha256)
    moments = parse_array(read_content(path, path / MOMENTS), "<f4")
    columns = sum(len(record.columns) for record in manifest.families.values())
    if moments.shape != (2, columns) or not np.isfinite(moments).all() or (moments[1] <= 0).any():
        raise ValueError(f"{MOMENTS} does not hold means and deviations of {columns} columns")
    return moments[0], moments[1]


def write_manifest(folder: Path, manifest: ModelManifest) -> ModelManifest:
    """Write the manifest, which makes a folder a model, once all its files are written.

    Returns the manifest with the checksums of the files that predictions depend on.
    """
    written = [
        file
        for place in base_models(list(manifest.families)).values()
        for file in MODEL_CLASSES[place.kind].files(folder, place.group)
    ]
    if manifest.copies:
        written.append(folder / MOMENTS)
    written.append(folder / KNOWN_ANSWERS)
    checksums = {listed_as(folder, file): sha256(file.read_bytes()) for file in written}
    whole = replace(manifest, sha256=checksums)
    write_json(folder / MANIFEST, whole.to_dict())
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
            check_sums(path, model_class.files(path, place.group), manifest.sha256)
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
    return ModelManifest.from_dict(read_json(path / MANIFEST, "model manifest"), path)


def listed_as(path: Path, file: Path) -> str:
    """The name of a model's file in its list of checksums."""
    return file.relative_to(path).as_posix()


def check_sums(path: Path, parts: Sequence[Path], checksums: Mapping[str, str]) -> None:
    """Raises InputError for a file of another checksum, ValueError for one without."""
    for file in parts:
        name = listed_as(path, file)
        if name not in checksums:
            raise ValueError(f"sha256.{name} is missing")
        if sha256(read_content(path, file)) != checksums[name]:
            raise InputError(f"model {path} is damaged: {name} does not have its checksum.")
