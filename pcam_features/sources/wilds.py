"""WILDS' camelyon17: P. W. Koh et al., "WILDS: A benchmark of in-the-wild distribution shifts", 2021.

metadata.csv (patient, node, x_coord, y_coord, tumor, slide, center, split); without tumor: unlabeled
patches/patient_PPP_node_N/patch_patient_PPP_node_N_x_X_y_Y.png
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..constants import Kind
from ..errors import InputError
from ..storage.tables import header_of, plain, read_table
from .manifest import ID, LABEL, SPLIT, split_of
from .reading import EVERYTHING
from .source import Source, source_of

METADATA, PATCHES = "metadata.csv", "patches"
PATTERNS = {
    **{"patient": r"\d{1,3}", "tumor": "[01]", "center": "[0-4]", SPLIT: "[0-3]"},
    **dict.fromkeys(("node", "x_coord", "y_coord"), r"\d{1,9}"),
}
TUMOR = "tumor"  # which the unlabeled patches of WILDS 2.0 lack
REQUIRED = [name for name in PATTERNS if name != TUMOR]
HELD_OUT = {"1": "3", "2": "2"}  # by center, as in WILDS' own loader
SPLITS = {"0": "train", "1": "id_val", "2": "test", "3": "val"}
PROTOCOL = (
    "A slide is a lymph node of a patient. id_val shares hospitals and slides with train; val and test "
    "come from one other hospital each."
)


def recognize(path: Path) -> bool:
    if not ((path / METADATA).is_file() and (path / PATCHES).is_dir()):
        return False
    return set(REQUIRED) <= {plain(column) for column in header_of(path / METADATA)}


def open_source(path: Path) -> Source:
    """Open WILDS' folder. Raises InputError if its table is damaged."""
    table = read_table(path / METADATA, tuple(REQUIRED), "metadata")
    where = f"metadata {path / METADATA}"
    for column in (name for name in PATTERNS if name in table):
        pattern = PATTERNS[column]
        bad = ~table[column].str.fullmatch(pattern)
        if bad.any():
            row = int(bad.to_numpy().argmax())
            value = table.loc[row, column]
            raise InputError(
                f"{where}, line {row + 2}: {column} is {str(value)[:100]!r}, which WILDS does not use; "
                "download it again."
            )
    slide = "patient_" + table["patient"].str.zfill(3) + "_node_" + table["node"]
    stem = "patch_" + slide + "_x_" + table["x_coord"] + "_y_" + table["y_coord"]
    folder = path / PATCHES
    rows = pd.DataFrame(
        {
            ID: stem,
            "file": [folder / s / f"{name}.png" for s, name in zip(slide, stem, strict=True)],
            LABEL: table[TUMOR].astype(int) if TUMOR in table else None,
            "slide": slide,
            SPLIT: table["center"].map(HELD_OUT).fillna(table[SPLIT]).map(SPLITS),
        }
    )
    there = [name for name in SPLITS.values() if (rows[SPLIT] == name).any()]
    parts = [split_of(name, rows[rows[SPLIT] == name], where, EVERYTHING) for name in there]
    return source_of(Kind.wilds, path, PROTOCOL, parts)
