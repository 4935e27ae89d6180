"""Predictions of a model: how they are asked for, what they need, and their record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib
import numpy as np
import pandas as pd

from ..constants import ENCODERS, Adapt, Device
from ..encoders.runtimes import RUNTIMES
from ..engine.devices import choose
from ..errors import InputError
from ..evaluate.predictions import Models, write_predictions
from ..evaluate.submission import submit
from ..extraction.images import Images
from ..extraction.streaming import streamed
from ..extraction.transformer import device_of, kernels_to_compile
from ..families.family import FeatureFamily
from ..families.registry import FAMILIES
from ..learn.adapt import Adaptation, name_of
from ..learn.bundle import Bundle
from ..sources.source import Source, Split
from ..storage import costs
from ..store.manifest import FamilyRecord
from ..store.trained_on import SeenPatches
from ..store.values import Values, joined
from ..words import counted
from .features import Choice
from .messages import for_python, warn
from .progress import Progress, shown

NOT_ADAPTED = (
    "the model was fitted on these patches, and their out-of-fold predictions are not adapted; leave "
    "out --adapt."
)


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions for a split of a store or a source.

    Parameters
    ----------
    ids
        The ids of the patches, in the order of the store or the source.
    probabilities
        The probability of tumor of each, float64 (n,).
    out_of_fold
        Whether the model was fitted on these patches, so that these are out-of-fold predictions.
    cost
        What the model and the predictions have cost.
    adaptation
        What was adapted to these patches; None without adaptation.
    copies
        Which patches are near-duplicates of training patches, bool (n,); None if that is not known.
    """

    ids: list[str]
    probabilities: np.ndarray
    out_of_fold: bool
    cost: costs.Cost
    adaptation: Adaptation | None = None
    copies: np.ndarray | None = None

    def __repr__(self) -> str:
        kind = "out-of-fold predictions" if self.out_of_fold else "predictions"
        return f"<pcam {kind} of {counted(len(self.ids), 'patch')}>"

    def to_series(self) -> pd.Series[float]:
        """The probabilities, indexed by id."""
        index = pd.Index(self.ids, name="id")
        return pd.Series(self.probabilities, index=index, name="probability")

    @for_python
    def write(self, path: str | Path) -> Path:
        """Write a CSV with columns id and label, the probability of tumor.

        Parameters
        ----------
        path
            The CSV.

        Returns
        -------
        Path
            The file of costs beside it.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        write_predictions(Path(path), self.ids, self.probabilities, self.cost)
        return costs.beside(Path(path))

    @for_python
    def submit(
        self,
        path: str | Path,
        sample: str | Path | None = None,
        *,
        log: Callable[[str], None] = lambda text: None,
    ) -> tuple[int, int]:
        """Write a Kaggle submission, and the file of costs beside it.

        Parameters
        ----------
        path
            The CSV to write.
        sample
            Kaggle's sample submission, whose ids are written in its order. Default: all ids.
        log
            Is told if the sample's ids are matched without folders and file endings.

        Returns
        -------
        tuple of int
            The number of rows written, and of predictions left out because the sample lacks their ids.

        Raises
        ------
        InputError
            If an id of the sample has no prediction, or a file cannot be read or written.
        """
        names = None if sample is None else Path(sample)
        return submit(Path(path), self.ids, self.probabilities, names, self.cost, log)


@dataclass(frozen=True)
class Computing:
    """How features that a prediction needs are computed; see `Model.predict_proba`."""

    choice: Choice
    encoder: str | None
    device: Device | str
    threads: int
    progress: Progress
    adapt: Adapt = Adapt.none
    outside: Models | None = None
    cluster: Any = None

    @property
    def where(self) -> str | None:
        """What features are computed on, as a table of costs names it; None for a cluster."""
        if self.cluster is not None:
            return None
        target, _ = choose(device_of(self.device))
        on_card = target.NAME == "cuda"
        return "cuda" if on_card else costs.cpu_name(self.threads or joblib.cpu_count())


@contextmanager
def measured_values(
    parts: Sequence[Images], families: Sequence[FeatureFamily], how: Computing
) -> Iterator[Values]:
    """Features of images, measured part by part as they are read, with a display of progress.

    If they are adapted, they are read several times, so they are kept in a temporary folder.

    Parameters
    ----------
    parts
        The patches of one split or several.
    families
        The families.
    how
        How they are computed.
    """
    device = device_of(how.device)
    compiling = kernels_to_compile(families, device)
    title = f"compiling {compiling} kernels, once; predict" if compiling else "predict"
    with ExitStack() as stack:
        folders: list[Path | None] = [None] * len(parts)
        if how.adapt != Adapt.none:
            folders = [Path(stack.enter_context(TemporaryDirectory(prefix="pcam-"))) for _ in parts]
        total = sum(len(part) for part in parts)
        advance = stack.enter_context(shown(how.progress, title, total, "patches"))
        yield reduce(
            joined,
            (
                streamed(
                    part,
                    families,
                    threads=how.threads,
                    device=device,
                    progress=advance,
                    folder=folder,
                )
                for part, folder in zip(parts, folders, strict=True)
            ),
        )


def warn_of_adaptation(adaptation: Adaptation | None) -> None:
    """Warn if some patches were not adapted."""
    if adaptation is not None and adaptation.left:
        warn(f"{adaptation.sentence()}.")


def log_learned(family: str, seen: SeenPatches, log: Callable[[str], None]) -> None:
    """Say if the network of a family has learned from patches that are predicted."""
    if seen.learned:
        log(
            f"warning: the network of {family} was trained on {seen.learned:,} of these patches; "
            "scores on them are too optimistic"
        )


def adapt_named(name: Adapt | str) -> Adapt:
    """The adaptation of this name. Raises InputError if there is none."""
    try:
        return Adapt(name)
    except ValueError:
        raise InputError(f"there is no adaptation {name!r}; there are: {', '.join(Adapt)}.") from None


def names_to_adapt_to(data: Any, how: Computing) -> list[Any]:
    """The name of the split or the slide of each patch, whichever features are adapted to.

    Empty without adaptation, and where all patches are of one split without a name.

    Raises InputError if slides are asked for and none is known.
    """
    if how.adapt == Adapt.none:
        return []
    parts: list[Split] = []
    if isinstance(data, Source):
        parts = data.only(how.choice.split)
    elif isinstance(data, Split):
        parts = [data]
    if how.adapt != Adapt.slide:
        return [part.name for part in parts for _ in part.ids]
    slides: list[Any] = [slide for part in parts for slide in part.slides]
    if isinstance(data, pd.DataFrame) and "slide" in data:
        slides = data["slide"].tolist()
    if not any(name_of(slide) for slide in slides):
        raise InputError("--adapt slide needs slides, and none is known; use --adapt split.")
    return slides


NOT_BLENDED = (
    "the model was fitted on these patches with the outside predictions of then, and their out-of-fold "
    "predictions hold them already; leave out --with."
)


def only_split(splits: Sequence[str], split: str | None) -> str:
    """The split that was asked for, or the only one. Raises InputError if there are several."""
    if split is None and len(splits) != 1:
        raise InputError(f"give split=, one of: {', '.join(splits)}.")
    return splits[0] if split is None else split


def families_of(bundle: Bundle, names: Sequence[str], encoder: str | None) -> list[FeatureFamily]:
    """Families that a model takes, by name.

    Raises InputError if one cannot be computed here: another version, or an encoder that is not given.
    """
    families: list[FeatureFamily] = []
    for name in names:
        known = bundle.manifest.families[name]
        facts = known.encoder
        if known.table:
            raise InputError(
                f"the model takes {name}, embeddings from a table, which cannot be computed here; "
                f"extract them into a feature store with --families {name}=FILE, and give the store."
            )
        family: FeatureFamily = FAMILIES[name] if facts is None else encoder_of(name, facts, encoder)
        if FamilyRecord.of(family) != known:
            raise InputError(
                f"the model was fitted on {name} features of other parameters or another version than "
                "are computed here; fit it anew, or give the encoder= that it was fitted with."
            )
        families.append(family)
    return families


def encoder_of(name: str, facts: dict[str, Any], encoder: str | None) -> FeatureFamily:
    """The encoder that a model's embeddings come from."""
    from ..encoders.registry import open_encoder

    network = encoder or (facts["network"] if facts["network"] in ENCODERS else None)
    if network is None:
        raise InputError(
            f"the model takes embeddings {name}, whose weights are in a file or a network of yours; "
            "give encoder=."
        )
    return open_encoder(
        network,
        size=facts["size"],
        depths=facts.get("depths"),
        pools=facts.get("pools") or None,
        views=facts["views"],
        precision=facts["precision"],
        runtime=facts["runtime"] if facts["runtime"] in RUNTIMES else None,
        output=facts.get("output"),
    )
