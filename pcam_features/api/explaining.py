"""Explanations of single predictions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..learn.explain_patch import PatchExplanation
from ..report import explanation_page
from ..report.pictures import framed
from ..store.pictures import open_pictures
from ..store.store import Store
from .data import Log


@dataclass(frozen=True)
class Explanation:
    """Why a model predicts what it predicts for one patch.

    The log-odds add up: `start`, the contributions of all columns, and nothing else. Their sum gives
    `probability`, after calibration if the model has one (`record.is_calibrated`).

    Parameters
    ----------
    record
        The contributions of columns and families; `record.to_dict()` is `pcam explain --json`.
    picture
        The patch, uint8 (96, 96, 3), or None if its source is not there.
    """

    record: PatchExplanation
    picture: np.ndarray | None

    @property
    def probability(self) -> float:
        """The probability of tumor."""
        return float(self.record.probability)

    @property
    def columns(self) -> pd.DataFrame:
        """The columns that moved the prediction most, with their contributions to the log-odds."""
        return pd.DataFrame([asdict(share) for share in self.record.columns]).set_index("column")

    @property
    def families(self) -> pd.Series[float]:
        """The contribution of each family to the log-odds."""
        return pd.Series(self.record.families, name="contribution")

    def __repr__(self) -> str:
        return f"<pcam explanation of {self.record.id}: probability {self.probability:.4f}>"

    def page(self) -> str:
        """The explanation as a page of HTML that needs no other file."""
        return explanation_page.page(self.record, self.picture)

    def _repr_html_(self) -> str:
        image = "" if self.picture is None else framed(self.picture, "The patch")
        table = self.columns[["meaning", "value", "training_mean", "contribution"]]
        return (
            f"<p>Probability of tumor: <strong>{self.probability:.3f}</strong></p>{image}"
            f"{table.to_html(border=0, float_format=lambda value: f'{value:.4g}')}"
            f"<p>{escape(explanation_page.adding_up(self.record))}.</p>"
        )


def picture_of(
    store: Store, record: PatchExplanation, source: str | Path | None, log: Log
) -> np.ndarray | None:
    """The picture of a stored patch; None if its source is not where it was, and none is given."""
    try:
        where = None if source is None else str(source)
        return open_pictures(store, record.split, where)(record.row)
    except InputError as error:
        if source is not None:
            raise
        log(f"no picture: {error} Use --source DIR to name the folder of the patches.")
        return None


def is_file(path: str) -> bool:
    """Whether there is a file of this name, which may be no name of a file at all."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False
