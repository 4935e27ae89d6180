"""Predictions of a model: how they are asked for, what they need, and their record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..constants import ENCODERS, Adapt, Device
from ..encoders.runtimes import RUNTIMES
from ..errors import InputError
from ..families.family import FeatureFamily
from ..families.registry import FAMILIES
from ..learn.adapt import Adaptation, name_of
from ..learn.bundle import Bundle
from ..sources.source import Source, Split
from ..store.manifest import FamilyRecord
from ..words import counted
from .features import Choice
from .messages import warn
from .progress import Progress

NOT_ADAPTED = (
    "the model was fitted on these patches, and their out-of-fold predictions are not adapted; leave "
    "out --adapt."
)


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions for a split of a store.

    Parameters
    ----------
    ids
        The ids of the patches, in the store's order.
    probabilities
        The probability of tumor of each, float64 (n,).
    out_of_fold
        Whether the model was fitted on these patches, so that these are out-of-fold predictions.
    adaptation
        What was adapted to these patches; None without adaptation.
    """

    ids: list[str]
    probabilities: np.ndarray
    out_of_fold: bool
    adaptation: Adaptation | None = None

    def __repr__(self) -> str:
        kind = "out-of-fold predictions" if self.out_of_fold else "predictions"
        return f"<pcam {kind} of {counted(len(self.ids), 'patch')}>"

    def to_series(self) -> pd.Series[float]:
        """The probabilities, indexed by id."""
        index = pd.Index(self.ids, name="id")
        return pd.Series(self.probabilities, index=index, name="probability")


@dataclass(frozen=True)
class Computing:
    """How features that a prediction needs are computed; see `Model.predict_proba`."""

    choice: Choice
    encoder: str | None
    device: Device | str
    threads: int
    progress: Progress
    adapt: Adapt = Adapt.none


def warn_of_adaptation(adaptation: Adaptation | None) -> None:
    """Warn if some patches were not adapted."""
    if adaptation is not None and adaptation.left:
        warn(f"{adaptation.sentence()}.")


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


def only_split(splits: Sequence[str], split: str | None) -> str:
    """The split that was asked for, or the only one. Raises InputError if there are several."""
    if split is None and len(splits) != 1:
        raise InputError(f"give split=, one of: {', '.join(splits)}.")
    return splits[0] if split is None else split


def families_of(bundle: Bundle, encoder: str | None) -> list[FeatureFamily]:
    """The families that a model takes.

    Raises InputError if one cannot be computed here: another version, or an encoder that is not given.
    """
    families: list[FeatureFamily] = []
    for name, known in bundle.manifest.families.items():
        facts = known.encoder
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
            f"the model takes embeddings {name}, whose weights are in a file of yours; give encoder=."
        )
    return open_encoder(
        network,
        size=facts["size"],
        depths=facts.get("depths"),
        pools=facts.get("pools") or None,
        views=facts["views"],
        precision=facts["precision"],
        runtime=facts["runtime"] if facts["runtime"] in RUNTIMES else None,
    )
