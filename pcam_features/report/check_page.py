"""The page of a check: what was found, and pictures of the data."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..check.check import CLASSES, Checked, of_label, summary, verdict
from ..check.findings import QUALITY, Finding, Part, conflicts, rows_of
from ..check.look import LABELS
from ..errors import InputError
from ..storage.files import write_text
from . import check_charts as charts
from .html import Page, paragraph, table, tabs
from .pictures import framed, png, sheet

SHEET = 24  # patches of a class
SHEET_COLUMNS = 8
SHOWN = 8  # patches of a kind that are odd
GROUPS = 6  # of copies that are labeled both ways
COLUMNS = ("patches", "positive", "negative", "unlabeled", "unreadable", "slides", "slide_unknown")
HEADINGS = ("split", "patches", "tumor", "normal", "unlabeled", "unreadable", "slides", "slide unknown")


def write(path: Path, checked: Checked) -> None:
    """Write the page, whole or not at all."""
    write_text(path, page(checked))


def page(checked: Checked) -> str:
    found = summary(checked)
    made = Page()
    made.section("findings", "What was found", findings_list(checked.findings))
    made.section("patches", "Patches", table("Patches of each split", *split_table(found)))
    own = checked.parts
    splits = found["splits"].items()
    light = [charts.brightness(name, one, k) for k, (name, one) in enumerate(splits)]
    color = [charts.channels(name, one, k) for k, (name, one) in enumerate(splits)]
    made.section("light", "Light and color",
                 tabs("Brightness", [(one, made.show(one)) for one in light]),
                 tabs("Channels", [(one, made.show(one)) for one in color]))  # fmt: skip
    by_slide = charts.slide_stain(own)
    sizes = charts.slide_sizes(own)
    made.section("stains", "Stain and slides", made.show(by_slide or charts.patch_stain(own)),
                 "" if sizes is None else made.show(sizes))  # fmt: skip
    if checked.drifts:
        made.section("drift", "Drift", made.show(charts.drifts(checked.drifts)))
    means = "What is common to patches of a class; what can be seen here tells them apart by itself."
    made.section("mean", "The mean patch", paragraph(means), mean_patches(own))
    square = "Drawn at random. The square is the center, where the label is decided."
    made.section("sheets", "Patches of each class", paragraph(square), sheets(own))
    odd = strange(checked)
    if odd:
        made.section("odd", "Patches to look at", odd)
    made_with = f"Made with pcam {found['pcam_version']} from {checked.source.path}."
    made.section("protocol", "Protocol", paragraph(checked.source.protocol), paragraph(made_with))
    title = f"pcam check: {checked.source.path}"
    heading = f"What the data are like: {Path(checked.source.path).name}"
    return made.html(title, heading, verdict(checked) + ".", [])


def findings_list(found: Sequence[Finding]) -> str:
    if not found:
        return paragraph("Nothing.")
    rows = [(one.grade, one.what, f"{one.count:,}", one.says) for one in found]
    return table("Faults first", ("grade", "what", "count", "in words"), rows)


def split_table(found: dict[str, Any]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """The patches of each split, by label, and their slides."""
    splits = found["splits"].items()
    return HEADINGS, [(name, *(f"{one[column]:,}" for column in COLUMNS)) for name, one in splits]


def gallery(items: Sequence[str]) -> str:
    return f'<ul class="gallery">{"".join(f"<li>{one}</li>" for one in items)}</ul>'


def mean_patches(parts: Sequence[Part]) -> str:
    items = []
    for part in parts:
        for k, label in enumerate(LABELS):
            if part.look.count[k]:
                mean = np.rint(part.look.total[k] / part.look.count[k]).astype(np.uint8)
                name = f"{part.name}, {CLASSES[label]}"
                said = f"<p><strong>{escape(name)}</strong>, {part.look.count[k]:,} patches</p>"
                items.append(framed(mean, f"The mean of {name}") + said)
    return gallery(items)


def sheets(parts: Sequence[Part]) -> str:
    shown = []
    for part in parts:
        for label in LABELS:
            rows = np.flatnonzero(of_label(part.look, label))
            rows = np.sort(np.random.default_rng(0).permutation(rows)[:SHEET])
            pictures = [one for one in (picture(part, int(row)) for row in rows) if one is not None]
            if pictures:
                name = f"{part.name}, {CLASSES[label]}"
                data = png(sheet(pictures, SHEET_COLUMNS))
                alt = f"{len(pictures)} patches of {name}"
                shown.append(
                    f'<figure><img class="sheet" src="{data}" alt="{escape(alt)}">'
                    f"<figcaption>{escape(name)}</figcaption></figure>"
                )
    return "".join(shown)


def picture(part: Part, row: int) -> np.ndarray | None:
    """A patch, unless its file is gone by now."""
    try:
        patch: np.ndarray = part.look.split.read(row, row + 1)[0]
    except InputError:
        return None
    return patch


def shown(part: Part, row: int) -> str:
    """A patch with its label and id, as HTML."""
    patch = picture(part, row)
    labels, name = part.look.split.labels, part.look.split.ids[row]
    label = CLASSES[None if labels is None else int(labels[row])]
    said = f"<p><strong>{escape(part.name)}, {label}</strong><br><code>{escape(name)}</code></p>"
    return ("" if patch is None else framed(patch, f"Patch {name}")) + said


def strange(checked: Checked) -> str:
    """Copies that are labeled both ways, and patches of poor quality."""
    parts, rows = checked.parts, rows_of(checked.parts)
    content = []
    groups = conflicts(checked.copies.near, rows)[:GROUPS]
    if groups:
        content.append("<h3>Copies that are labeled both ways</h3>")
        content += [
            gallery([shown(parts[rows.part[k]], int(rows.place[k])) for k in group[:4]])
            for group in groups
        ]
    for what, (tell, _) in QUALITY.items():
        found = [(part, row) for part in parts if part.own for row in np.flatnonzero(tell(part.look))]
        if found:
            content.append(f"<h3>{what.capitalize()}: {len(found):,}</h3>")
            content.append(gallery([shown(part, int(row)) for part, row in found[:SHOWN]]))
    return "".join(content)
