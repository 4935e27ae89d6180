"""How far each column moves between laboratories, beside how well it tells tumor.

    python benchmarks/shift.py columns STORE VIEWS

STORE has the features of the training patches, VIEWS those of a split and its moderate views
(`shift.py measure`). The command writes the figures of pcam_features/report/travel.json and
docs/shift-columns.svg, and prints the table of docs/shift.md.

A value's rank is its place among those of the training patches, 0 to 1. A column moves by the mean
change of rank over patches and views, divided by 1/3, the mean difference of two ranks drawn at random.
So 0 means that no patch changes its place, and 1 that places are as good as new. Unlike a shift in
standard deviations, this suits columns with long tails and columns that are mostly zero as well.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from pcam_features.evaluate.intervals import aucs
from pcam_features.families.registry import FAMILIES
from pcam_features.report.travel import FILE, FRAGILE, STABLE, UNITS, Travel
from pcam_features.store.store import Store

FIGURE = Path(__file__).parents[1] / "docs" / "shift-columns.svg"
STRENGTH = "moderate"
AT_RANDOM = 1 / 3  # the mean difference of two ranks drawn at random
COLORS = {"stable": "#2a7f62", "between": "#b8b8b8", "fragile": "#b03060"}


def ranks(training: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The rank of each value among those of the training patches, 0 to 1; ties have their middle.

    Parameters
    ----------
    training
        The values of the training patches, (patches, columns).
    values
        The values to rank, (views, rows, columns).
    """
    found = np.empty(values.shape)
    for k, ordered in enumerate(np.sort(training, axis=0).T):
        own = np.ascontiguousarray(values[..., k])
        below = np.searchsorted(ordered, own, "left") + np.searchsorted(ordered, own, "right")
        found[..., k] = below / 2 / len(ordered)
    return found


def family_figures(store: Store, views: Store, family: str) -> pd.DataFrame:
    """A row for each column: how far it moves in each view, on average (`moved`), and its AUC."""
    plain, *others = views.splits
    shifted = [split for split in others if split.endswith(STRENGTH)]
    values = np.stack([views.features(split, family) for split in (plain, *shifted)])
    before, *after = ranks(store.features("train", family), values)
    moved = {
        split.removeprefix(f"{plain}-").removesuffix(f"-{STRENGTH}"): np.abs(there - before).mean(
            axis=0
        )
        / AT_RANDOM
        for split, there in zip(shifted, after, strict=True)
    }
    labels = views.patches(plain)["label"].to_numpy(np.int8)
    alone = aucs(labels, np.ascontiguousarray(values[0].T))
    table = pd.DataFrame(moved)
    table.insert(0, "column", list(views.manifest.families[family].columns))
    table.insert(0, "family", family)
    return table.assign(
        moved=table[list(moved)].mean(axis=1),
        most=table[list(moved)].idxmax(axis=1),
        auc=np.maximum(alone, 1 - alone),
    )


def shifts_of(table: pd.DataFrame) -> list[str]:
    """The views that a table of `family_figures` has."""
    return [name for name in table.columns if name not in ("family", "column", "moved", "most", "auc")]


def grades(table: pd.DataFrame) -> pd.Series[str]:
    """The grade of each column."""
    return table["moved"].map(lambda moved: Travel(moved, "", 0.5).grade)


def as_json(table: pd.DataFrame) -> str:
    """The content of the package's file: whole numbers, in the order of each family's columns."""
    shifts = shifts_of(table)
    by_name = {str(name): own for name, own in table.groupby("family", sort=False)}
    families = {
        name: {
            "version": FAMILIES[name].version,
            "moved": np.rint(UNITS * own["moved"]).astype(int).tolist(),
            "most": [shifts.index(shift) for shift in own["most"]],
            "auc": np.rint(UNITS * own["auc"]).astype(int).tolist(),
        }
        for name, own in by_name.items()
        if name in FAMILIES
    }
    lines = [
        f"{json.dumps(name)}: {json.dumps(record, separators=(',', ':'))}"
        for name, record in families.items()
    ]
    listed = ",\n".join(lines)
    return f'{{"shifts": {json.dumps(shifts)},\n"families": {{\n{listed}\n}}}}\n'


def markdown(table: pd.DataFrame) -> str:
    """A row for each family: the median of each shift, the shares of grades, and AUCs."""
    shifts = shifts_of(table)
    header = ["family", *(f"`{name}`" for name in shifts), "all", "stable", "fragile", "AUC", "best"]
    lines = [f"| {' | '.join(header)} |", f"| --- |{' ---: |' * (len(header) - 1)}"]
    by_family = {str(name): own for name, own in table.groupby("family")}
    for name, own in sorted(by_family.items(), key=lambda item: item[1]["moved"].median()):
        cells = [
            f"`{name}`",
            *(f"{own[shift].median():.2f}" for shift in shifts),
            f"{own['moved'].median():.2f}",
            f"{(grades(own) == 'stable').mean():.0%}",
            f"{(grades(own) == 'fragile').mean():.0%}",
            f"{own['auc'].median():.3f}",
            f"{own['auc'].max():.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(table: pd.DataFrame) -> str:
    """A chart: a dot for each column, its movement to the right and its AUC upwards, by family."""
    names = sorted(table["family"].unique(), key=lambda name: _median(table, name))
    wide, high, across, most = 150, 130, 4, 0.8
    bottom = -(-len(names) // across) * high
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across * wide + 40} {bottom + 40}" '
        'font-family="sans-serif" font-size="11" role="img" '
        'aria-label="How far the columns of each family move, and their AUC">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for k, name in enumerate(names):
        left, top = 30 + k % across * wide, 10 + k // across * high
        own = table[table["family"] == name]
        parts.append(f'<text x="{left + 4}" y="{top + 12}" font-weight="bold">{name[:18]}</text>')
        parts.append(
            f'<rect x="{left}" y="{top}" width="{wide - 14}" height="{high - 30}" fill="none" '
            'stroke="#ccc"/>'
        )
        x = left + np.minimum(own["moved"] / most, 1) * (wide - 14)
        y = top + (0.9 - own["auc"]) / 0.4 * (high - 30)
        for grade, color in COLORS.items():
            dots = [f"M{a:.0f} {b:.0f}h0" for a, b in zip(x, y, strict=True)]
            drawn = "".join(dict.fromkeys(np.array(dots)[(grades(own) == grade).to_numpy()].tolist()))
            parts.append(
                f'<path d="{drawn}" stroke="{color}" stroke-width="2.4" stroke-linecap="round"/>'
            )
        for value in (0.0, 0.4, 0.8):
            x = left + value / most * (wide - 14)
            parts.append(
                f'<text x="{x:.0f}" y="{top + high - 18}" text-anchor="middle" '
                f'fill="#555">{value:g}</text>'
            )
        if k % across == 0:
            parts += [
                f'<text x="{left - 4}" y="{top + (0.9 - auc) / 0.4 * (high - 30) + 4:.0f}" '
                f'text-anchor="end" fill="#555">{auc:g}</text>'
                for auc in (0.5, 0.7, 0.9)
            ]
    legend = (
        f"to the right: how far a column moves (0 not, 1 as if drawn anew; green up to {STABLE:g}, "
        f"red from {FRAGILE:g}); upwards: its AUC alone"
    )
    parts.append(f'<text x="30" y="{bottom + 28}">{legend}</text></svg>')
    return "\n".join(parts) + "\n"


def _median(table: pd.DataFrame, name: str) -> float:
    return float(table.loc[table["family"] == name, "moved"].median())


def columns(store: Store, views: Store) -> None:
    """Measure all families that both stores have; write the file and the figure, print the table."""
    plain = views.splits[0]
    families = [name for name in views.families(plain) if name in store.families("train")]
    if left_out := [name for name in views.families(plain) if name not in families]:
        print(f"left out, as {store.path} does not have them: {', '.join(left_out)}\n")
    table = pd.concat([family_figures(store, views, name) for name in families], ignore_index=True)
    FILE.write_text(as_json(table))
    FIGURE.write_text(figure(table))
    print(markdown(table))
    for grade in ("stable", "fragile"):
        own = table[(grades(table) == grade) & table["family"].isin(list(FAMILIES))]
        by_hand = own.nlargest(8, "auc")
        print(f"\n{grade} columns that tell tumor best:")
        for row in by_hand.itertuples():
            print(f"- `{row.column}`: moves by {row.moved:.2f}, AUC {row.auc:.3f}")
