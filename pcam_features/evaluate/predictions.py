"""Predictions as tables `id,label` with a probability: Kaggle's format, and everyone's door in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..storage.files import whole_file
from ..storage.tables import read_table

SEEDS = ("label", "seed")  # how a column of probabilities begins


def read_truth(path: Path) -> pd.DataFrame:
    """`id` and `label` (0 or 1). Raises InputError for anything else, or one class only."""
    table = read_table(path, ("id", "label"), "truth")
    odd = ~table["label"].isin(["0", "1"])
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        raise InputError(
            f"truth {path}, line {row + 2}: the label of {table['id'][row]} is "
            f"{table['label'][row]!r}, not 0 or 1."
        )
    table["label"] = table["label"].astype(np.int8)
    if table["label"].nunique() < 2:
        raise InputError(f"truth {path} holds one class only; an AUC needs both.")
    return table[["id", "label"]]


def parse_model(spec: str) -> tuple[str | None, list[str]] | tuple[None, list[Path]]:
    """`[NAME=]FILE[,FILE…]`: what a model is called, if that is said, and its files; a file of that
    very name comes first."""
    try:
        if Path(spec).exists():
            return None, [Path(spec)]
    except OSError:  # too long for a name: it is several
        pass
    name, equals, files = spec.partition("=")
    return (name, files.split(",")) if equals else (None, spec.split(","))


def read_models(specs: Sequence[str], ids: Sequence[str]) -> dict[str, tuple[list[Path], np.ndarray]]:
    """Of each model its files and its probabilities, (seeds, n), by name: the one given, or the stem
    of its first file, or that whole path where stems are not unique.

    Raises InputError for predictions that cannot be used, a file or a name given twice.
    """
    parsed = [(name, [Path(file) for file in files]) for name, files in map(parse_model, specs)]
    files = [file.resolve() for _, each in parsed for file in each]
    if len(set(files)) != len(files):
        raise InputError("the same predictions are given twice; name each file once.")
    stems = [each[0].stem for _, each in parsed]
    names = [
        name or (stem if stems.count(stem) == 1 else str(each[0]))
        for (name, each), stem in zip(parsed, stems, strict=True)
    ]
    if len(set(names)) != len(names) or "" in names:
        raise InputError("two models have the same name; give each its own, as NAME=FILE.")
    if not all(name.isprintable() for name in names):
        raise InputError("a model's name is not plain text; give it another, as NAME=FILE.")
    return {
        name: (each, np.concatenate([read_predictions(file, ids) for file in each]))
        for name, (_, each) in zip(names, parsed, strict=True)
    }


def read_predictions(path: Path, ids: Sequence[str]) -> np.ndarray:
    """The probabilities of `ids`, in their order, float64: a row for each seed (seeds, n).

    A seed is a column whose name begins with `label` or `seed`. Raises InputError unless the file has
    exactly these ids with finite probabilities that are neither all the same nor bare labels.
    """
    table = read_table(path, ("id",), "predictions")
    seeds = [name for name in table.columns if name.startswith(SEEDS)]
    if not seeds:
        raise InputError(
            f"predictions {path} have no column {' or '.join(SEEDS)} with probabilities; there are: "
            f"{', '.join(table.columns)}."
        )
    if twice := [name for name in seeds if name.rpartition(".")[0] in seeds]:
        raise InputError(
            f"predictions {path} have two columns {twice[0].rpartition('.')[0]}; keep one."
        )
    position = pd.Series(np.arange(len(table)), index=table["id"])
    missing = [i for i in ids if i not in position.index]
    extra = len(table) - (len(ids) - len(missing))
    if missing or extra:
        raise InputError(
            f"predictions {path} do not match the truth: {len(missing)} of its ids are missing"
            f"{f', the first {missing[0]},' if missing else ''} and {extra} are not in it."
        )
    order = position[list(ids)].to_numpy()
    return np.stack([probabilities(table, name, path)[order] for name in seeds])


def probabilities(table: pd.DataFrame, column: str, path: Path) -> np.ndarray:
    """A column's probabilities. Raises InputError if it holds anything else, or nothing to compare."""
    values: np.ndarray = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"predictions {path}, line {row + 2}: {table[column][row]!r} for {table['id'][row]} "
            "is not a probability from 0 to 1."
        )
    if np.unique(values).size == 1:
        raise InputError(f"predictions {path} are all {values[0]:g}: there is nothing to compare.")
    if np.isin(values, (0.0, 1.0)).all():
        raise InputError(f"predictions {path} hold bare labels, 0 and 1; give probabilities.")
    return values


def write_predictions(path: Path, ids: Sequence[str], probabilities: np.ndarray) -> None:
    """Write `id,label`. Raises InputError if a probability is not finite or not one."""
    inside = (probabilities >= 0) & (probabilities <= 1)  # false for NaN as well
    if not inside.all():
        raise InputError(f"{int((~inside).sum())} predictions are no probabilities; nothing written.")
    with whole_file(path) as temporary:
        pd.DataFrame({"id": list(ids), "label": probabilities}).to_csv(temporary, index=False)
