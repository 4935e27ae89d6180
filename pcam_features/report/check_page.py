"""The page of a check: its findings, and charts and pictures of the data."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from ..check.findings import Finding
from ..check.pictures import CheckPictures, MeanPatch, PatchPicture, PatchSheet, UnusualPatches
from ..check.result import CheckResult
from ..storage.files import write_text
from ..words import counted
from . import check_charts as charts
from .html import Page, paragraph, table, tabs
from .pictures import framed, png, sheet

SHEET_COLUMNS = 8
HEADINGS = ("split", "patches", "tumor", "normal", "unlabeled", "unreadable", "slides", "slide unknown")


def write(path: Path, result: CheckResult, pictures: CheckPictures) -> None:
    """Write the page of a check, whole or not at all."""
    write_text(path, page(result, pictures))


def page(result: CheckResult, pictures: CheckPictures) -> str:
    """The page as HTML."""
    made = Page()
    made.section("findings", "Findings", findings_list(result.findings))
    columns, rows = split_table(result)
    made.section("patches", "Patches", table("Patches of each split", columns, rows))
    light = [charts.brightness(split, k) for k, split in enumerate(result.splits)]
    color = [charts.channels(split, k) for k, split in enumerate(result.splits)]
    made.section(
        "light",
        "Brightness and color",
        tabs("Brightness", [(chart, made.show(chart)) for chart in light]),
        tabs("Channels", [(chart, made.show(chart)) for chart in color]),
    )
    stain = charts.slide_stain(result.parts) or charts.patch_stain(result.parts)
    sizes = charts.slide_sizes(result.parts)
    made.section(
        "stains", "Stain and slides", made.show(stain), "" if sizes is None else made.show(sizes)
    )
    if result.drifts:
        made.section("drift", "Drift", made.show(charts.drifts(result.drifts)))
    made.section("mean", "Mean patches", paragraph(MEANS), mean_patches(pictures.means))
    made.section("sheets", "Sample of each class", paragraph(SAMPLE), sheets(pictures.sheets))
    if pictures.unusual:
        made.section("odd", "Patches to inspect", unusual(pictures.unusual))
    made_with = f"Made with pcam {result.pcam_version} from {result.source}."
    made.section("protocol", "Protocol", paragraph(result.protocol), paragraph(made_with))
    title = f"pcam check: {result.source}"
    return made.html(title, f"Data check: {Path(result.source).name}", result.verdict + ".", [])


MEANS = (
    "The mean of all patches of a class. If the classes differ here, they can be told apart by "
    "brightness or color alone."
)
SAMPLE = "A random sample. The square marks the center, which decides the label."


def findings_list(findings: Sequence[Finding]) -> str:
    """The findings as HTML."""
    if not findings:
        return paragraph("None.")
    rows = [(one.grade, one.what, f"{one.count:,}", one.says) for one in findings]
    return table("Findings, faults first", ("grade", "what", "count", "finding"), rows)


def split_table(result: CheckResult) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """The patches of each split by label, and its slides."""
    rows = [
        (
            split.name,
            f"{split.patches:,}",
            f"{split.positive:,}",
            f"{split.negative:,}",
            f"{split.unlabeled:,}",
            f"{split.unreadable:,}",
            f"{split.slides:,}",
            f"{split.slide_unknown:,}",
        )
        for split in result.splits
    ]
    return HEADINGS, rows


def gallery(items: Sequence[str]) -> str:
    """Items side by side."""
    return f'<ul class="gallery">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


def mean_patches(means: Sequence[MeanPatch]) -> str:
    """The mean patch of each class."""
    return gallery(
        [
            framed(mean.pixels, f"Mean patch of {mean.name}")
            + f"<p><strong>{escape(mean.name)}</strong>, {counted(mean.patches, 'patch')}</p>"
            for mean in means
        ]
    )


def sheets(shown: Sequence[PatchSheet]) -> str:
    """A sheet of patches for each class."""
    return "".join(
        f'<figure><img class="sheet" src="{png(sheet(one.patches, SHEET_COLUMNS))}" '
        f'alt="{escape(counted(len(one.patches), "patch"))} of {escape(one.name)}">'
        f"<figcaption>{escape(one.name)}</figcaption></figure>"
        for one in shown
    )


def captioned(picture: PatchPicture) -> str:
    """A patch with its class and id."""
    image = "" if picture.pixels is None else framed(picture.pixels, f"Patch {picture.id}")
    caption = f"{escape(picture.split)}, {escape(picture.label)}"
    return f"{image}<p><strong>{caption}</strong><br><code>{escape(picture.id)}</code></p>"


def unusual(kinds: Sequence[UnusualPatches]) -> str:
    """Patches to inspect, under their headings."""
    content = []
    for kind in kinds:
        content.append(f"<h3>{escape(kind.heading)}</h3>")
        content += [gallery([captioned(picture) for picture in group]) for group in kind.groups]
    return "".join(content)
