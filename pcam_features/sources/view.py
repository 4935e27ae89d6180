"""Looking at patches from Python: by index, as a random sample, and as HTML in a notebook."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from ..errors import InputError
from ..geometry import CENTER, PATCH_SIZE
from ..words import counted

if TYPE_CHECKING:
    import pandas as pd

LONGEST_SHOWN = 40  # letters of a name in HTML; the tooltip has all of them
PREVIEW = 4  # patches shown with a source
SIDE = "100px"
SQUARE = ";".join(
    [
        "position:absolute",
        f"left:{100 * CENTER[0] / PATCH_SIZE:.2f}%",
        f"top:{100 * CENTER[0] / PATCH_SIZE:.2f}%",
        f"width:{100 * (CENTER[1] - CENTER[0]) / PATCH_SIZE:.2f}%",
        f"height:{100 * (CENTER[1] - CENTER[0]) / PATCH_SIZE:.2f}%",
        "box-sizing:border-box",
        "border:1px solid #ffd400",
    ]
)


class Viewable(Protocol):
    """What is shown of a split."""

    @property
    def name(self) -> str: ...
    @property
    def ids(self) -> list[str]: ...
    @property
    def labels(self) -> np.ndarray | None: ...
    @property
    def slides(self) -> list[str | None]: ...
    @property
    def read(self) -> Any: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class PatchImages:
    """The images of patches, read when they are asked for.

    `images[i]` is uint8 (96, 96, 3). A slice, a list or array of rows, or a boolean mask gives uint8
    (n, 96, 96, 3). Rows are numbered across splits, in the order of the splits.
    """

    parts: Sequence[Viewable]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, key: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """Read one image or a batch. Raises IndexError for rows that do not exist, and InputError
        for patches that cannot be read."""
        rows = np.arange(len(self))[key]
        if rows.ndim == 0:
            image: np.ndarray = self._read(rows.reshape(1))[0]
            return image
        return self._read(rows)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        ends = np.cumsum([len(part) for part in self.parts])
        of_part = np.searchsorted(ends, rows, side="right")
        breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(of_part) != 0)) + 1
        batch = np.empty((len(rows), PATCH_SIZE, PATCH_SIZE, 3), np.uint8)
        for first, last in pairwise([0, *breaks.tolist(), len(rows)]):
            if first < last:  # no rows were asked for otherwise
                part = self.parts[of_part[first]]
                start = int(rows[first] - (ends[of_part[first]] - len(part)))
                batch[first:last] = part.read(start, start + last - first)
        return batch


@dataclass(frozen=True, repr=False)
class Sample:
    """Some patches, which a notebook shows as pictures.

    Parameters
    ----------
    ids
        Their ids.
    labels
        Their labels: 0, 1, or None where not known.
    slides
        Their slides; None where not known.
    splits
        The names of their splits.
    images
        uint8 (n, 96, 96, 3).
    """

    ids: list[str]
    labels: list[int | None]
    slides: list[str | None]
    splits: list[str]
    images: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        more = " …" if len(self) > 3 else ""
        return f"Sample of {counted(len(self), 'patch')}: {', '.join(self.ids[:3])}{more}"

    def _repr_html_(self) -> str:
        """Each patch with its label and id; a square marks the center, which decides the label."""
        figures = [
            figure(image, caption(label), patch_id, hint(patch_id, slide, split))
            for image, label, patch_id, slide, split in zip(
                self.images, self.labels, self.ids, self.slides, self.splits, strict=True
            )
        ]
        return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(figures)}</div>'


def sample(parts: Sequence[Viewable], count: int, seed: int) -> Sample:
    """Patches drawn at random without replacement, in the order of the source.

    Raises InputError for fewer than one patch, and for patches that cannot be read.
    """
    if count < 1:
        raise InputError(f"a sample of {counted(count, 'patch')} is not possible; give at least 1.")
    images = PatchImages(parts)
    chosen = np.random.default_rng(seed).choice(len(images), min(count, len(images)), replace=False)
    rows = np.sort(chosen)
    of_row = [(part, row) for part in parts for row in range(len(part))]
    drawn = [of_row[row] for row in rows]
    return Sample(
        ids=[part.ids[row] for part, row in drawn],
        labels=[None if part.labels is None else int(part.labels[row]) for part, row in drawn],
        slides=[part.slides[row] for part, row in drawn],
        splits=[part.name for part, _ in drawn],
        images=images[rows],
    )


def labels_of(parts: Sequence[Viewable]) -> np.ndarray | None:
    """Labels of all patches: int8, or float32 with NaN if a split has none, or None if no split has."""
    if all(part.labels is None for part in parts):
        return None
    if all(part.labels is not None for part in parts):
        return np.concatenate([part.labels for part in parts if part.labels is not None])
    known = [np.full(len(p), np.nan) if p.labels is None else p.labels for p in parts]
    return np.concatenate(known).astype(np.float32)


def frame(parts: Sequence[Viewable]) -> pd.DataFrame:
    """The columns id, label (NaN if not known), slide (None if not known) and split."""
    import pandas as pd

    labels = labels_of(parts)
    return pd.DataFrame(
        {
            "id": [patch_id for part in parts for patch_id in part.ids],
            "label": np.full(sum(map(len, parts)), np.nan, np.float32) if labels is None else labels,
            "slide": pd.Series([slide for part in parts for slide in part.slides], dtype=object),
            "split": [part.name for part in parts for _ in part.ids],
        }
    )


def table_html(title: str, parts: Sequence[Viewable]) -> str:
    """A table of splits and, below it, a few patches."""
    columns = ("split", "patches", "tumor", "normal", "slides", "without slide")
    head = "".join(f"<th>{name}</th>" for name in columns)
    rows = []
    for part in parts:
        tumor = None if part.labels is None else int(part.labels.sum())
        known = [slide for slide in part.slides if slide is not None]
        cells = [
            f"{len(part):,}",
            "" if tumor is None else f"{tumor:,}",
            "" if tumor is None else f"{len(part) - tumor:,}",
            f"{len(set(known)):,}",
            f"{len(part) - len(known):,}",
        ]
        numbers = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f"<tr><th>{escape(part.name)}</th>{numbers}</tr>")
    try:
        pictures = sample(parts, PREVIEW, seed=0)._repr_html_()
    except InputError as error:
        pictures = f"<p>{escape(str(error))}</p>"
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f"<div><p>{escape(title)}</p><table>{body}</table>{pictures}</div>"


def caption(label: int | None) -> str:
    return "no label" if label is None else ("normal", "tumor")[label]


def hint(patch_id: str, slide: str | None, split: str) -> str:
    """The text that appears over a picture."""
    return f"{patch_id}, split {split}, slide {'unknown' if slide is None else slide}"


def figure(image: np.ndarray, label: str, patch_id: str, title: str) -> str:
    """One patch as HTML. Names are untrusted and escaped."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    data = base64.b64encode(stream.getvalue()).decode()
    shown = patch_id if len(patch_id) <= LONGEST_SHOWN else f"{patch_id[:LONGEST_SHOWN]}…"
    picture = f'<img src="data:image/png;base64,{data}" alt="{escape(title)}" style="width:100%">'
    return (
        f'<figure style="margin:0;width:{SIDE}" title="{escape(title)}">'
        f'<div style="position:relative;line-height:0">{picture}<div style="{SQUARE}"></div></div>'
        f'<figcaption style="font-size:11px;overflow-wrap:anywhere"><b>{label}</b><br>{escape(shown)}'
        "</figcaption></figure>"
    )
