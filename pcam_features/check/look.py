"""Measurements of each patch of a source: checksum, colors, sharpness, ink, and a thumbnail.

Gray is OpenCV's 0.299 R + 0.587 G + 0.114 B; levels are 0 … 255, proportions 0 … 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from ..engine import cpu
from ..engine.kernel import Kernel
from ..errors import InputError
from ..execution.executor import Threads
from ..families.registry import FAMILIES, kernels_of, measurer
from ..geometry import PATCH_SIZE, THUMBNAIL_SIDE
from ..sources.images import SHAPE
from ..sources.source import Split

ROWS = 128  # patches of a unit of work
SMALL = THUMBNAIL_SIDE
DARK = 60  # a pixel with all channels below this level is too dark to be stain
# OpenCV's hue, saturation and value of ink: 75 to 235 degrees, which no stain has.
INK_FROM, INK_TO = np.array((38, 71, 31), np.uint8), np.array((117, 255, 255), np.uint8)
LABELS = (0, 1, None)
FAMILY, MEAN = "color", "color__mean__patch_"
COLUMNS = [k for k, name in enumerate(FAMILIES[FAMILY].columns) if name.startswith(MEAN)]
NAMES = [FAMILIES[FAMILY].columns[k] for k in COLUMNS]
Measure = Callable[[np.ndarray], np.ndarray]


@dataclass
class Look:
    """Measurements of the patches of a split, a row each; `there` is false for unreadable patches.

    `sha1` uint8 (rows, 20): of the pixels. `color` float32 (rows, columns NAMES). `gray`, `deviation`:
    mean and standard deviation of gray levels. `sharpness`: variance of the Laplacian. `dark`, `ink`:
    proportions of pixels. `small` uint8 (rows, 8, 8): thumbnails. `unreadable`: the error message of
    each unreadable row. By label (0, 1, none): `histogram` (3, 3, 256) of the pixels' red, green and
    blue; `total`, the sum of patches; `count`, their number.
    """

    split: Split
    there: np.ndarray
    sha1: np.ndarray
    color: np.ndarray
    gray: np.ndarray
    deviation: np.ndarray
    sharpness: np.ndarray
    dark: np.ndarray
    ink: np.ndarray
    small: np.ndarray
    unreadable: dict[int, str] = field(default_factory=dict)
    histogram: np.ndarray = field(default_factory=lambda: np.zeros((3, 3, 256), np.int64))
    total: np.ndarray = field(default_factory=lambda: np.zeros((3, *SHAPE), np.int64))
    count: np.ndarray = field(default_factory=lambda: np.zeros(3, np.int64))

    def mean(self, plane: str) -> np.ndarray:
        """The mean of a color plane over each patch, in levels (rows,)."""
        values: np.ndarray = self.color[:, NAMES.index(MEAN + plane)]
        return values


def empty(split: Split) -> Look:
    """A look with nothing measured yet."""
    rows = len(split)
    gray, deviation, sharpness, dark, ink = np.zeros((5, rows), np.float32)
    return Look(
        split,
        there=np.zeros(rows, bool),
        sha1=np.zeros((rows, 20), np.uint8),
        color=np.zeros((rows, len(COLUMNS)), np.float32),
        gray=gray,
        deviation=deviation,
        sharpness=sharpness,
        dark=dark,
        ink=ink,
        small=np.zeros((rows, SMALL, SMALL), np.uint8),
    )


def read_what_can_be(split: Split, start: int, stop: int) -> tuple[np.ndarray, dict[int, str]]:
    """The readable patches from `start` to `stop`, and the error message of each other row."""
    try:
        return split.read(start, stop), {}
    except InputError:
        pass
    patches, unreadable = [], {}
    for row in range(start, stop):
        try:
            patches.append(split.read(row, row + 1))
        except InputError as error:
            unreadable[row] = str(error)
    return np.concatenate([np.zeros((0, *SHAPE), np.uint8), *patches]), unreadable


def gray_of(batch: np.ndarray) -> np.ndarray:
    """The gray levels of patches, uint8 (rows, 96, 96)."""
    strip = batch.reshape(-1, PATCH_SIZE, 3)
    return np.asarray(cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY)).reshape(-1, PATCH_SIZE, PATCH_SIZE)


def thumbnails(gray: np.ndarray) -> np.ndarray:
    """The mean level of each cell of gray patches (rows, 96, 96), uint8 (rows, 8, 8)."""
    cell = PATCH_SIZE // SMALL
    cells = gray.reshape(-1, SMALL, cell, SMALL, cell)
    return np.asarray(cells.mean(axis=(2, 4)).astype(np.uint8))


def see(batch: np.ndarray, measure: Measure) -> dict[str, np.ndarray]:
    """The fields of `Look` for a batch of readable patches."""
    strip = batch.reshape(-1, PATCH_SIZE, 3)
    gray = gray_of(batch)
    hsv = cv2.cvtColor(strip, cv2.COLOR_RGB2HSV)
    ink = cv2.inRange(hsv, INK_FROM, INK_TO).reshape(len(batch), -1)
    moments = [cv2.meanStdDev(patch) for patch in gray]
    laplacians = [cv2.meanStdDev(cv2.Laplacian(patch, cv2.CV_32F)) for patch in gray]
    digests = [hashlib.sha1(patch.tobytes(), usedforsecurity=False).digest() for patch in batch]
    return {
        "sha1": np.array([np.frombuffer(digest, np.uint8) for digest in digests]),
        "color": measure(batch),
        "gray": np.array([mean[0, 0] for mean, _ in moments]),
        "deviation": np.array([deviation[0, 0] for _, deviation in moments]),
        "sharpness": np.array([deviation[0, 0] ** 2 for _, deviation in laplacians]),
        "dark": (hsv[..., 2].reshape(len(batch), -1) < DARK).mean(axis=1),
        "ink": (ink > 0).mean(axis=1),
        "small": thumbnails(gray),
    }


def by_label(batch: np.ndarray, labels: np.ndarray | None) -> dict[str, np.ndarray]:
    """Histograms, sums and counts of a batch by label."""
    histogram, total = np.zeros((3, 3, 256), np.int64), np.zeros((3, *SHAPE), np.int64)
    count = np.zeros(3, np.int64)
    for k, label in enumerate(LABELS):
        own = batch if labels is None else batch[labels == label]
        if (labels is None) != (label is None) or not len(own):
            continue
        count[k] = len(own)
        total[k] = own.sum(axis=0, dtype=np.int64)
        for channel in range(3):
            plane = np.ascontiguousarray(own[..., channel]).ravel()
            histogram[k, channel] = np.bincount(plane, minlength=256)
    return {"histogram": histogram, "total": total, "count": count}


def kernels() -> list[Kernel]:
    """The kernels that `color_measure` compiles."""
    return kernels_of([FAMILIES[FAMILY]])


def color_measure() -> Measure:
    """A function that measures the color columns NAMES of a batch; compiled once per machine."""
    measured = measurer([FAMILIES[FAMILY]], cpu)
    return lambda batch: measured(batch, [FAMILY])[FAMILY][:, COLUMNS]


@dataclass(frozen=True)
class SpanLook:
    """The measurements of some rows: fields of `Look` by row, and sums over the rows by label."""

    rows: np.ndarray
    unreadable: dict[int, str]
    by_row: dict[str, np.ndarray] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)


def look_at_span(split: Split, measure: Measure, start: int, stop: int) -> SpanLook:
    """Measure the rows from `start` to `stop`."""
    batch, unreadable = read_what_can_be(split, start, stop)
    rows = np.array([row for row in range(start, stop) if row not in unreadable], np.int64)
    if not len(rows):
        return SpanLook(rows, unreadable)
    labels = None if split.labels is None else split.labels[rows]
    return SpanLook(rows, unreadable, see(batch, measure), by_label(batch, labels))


def spans_together(spans: Sequence[SpanLook]) -> SpanLook:
    """The measurements of the rows of all spans, which follow each other."""
    unreadable = {row: reason for span in spans for row, reason in span.unreadable.items()}
    rows = np.concatenate([span.rows for span in spans])
    measured = [span for span in spans if len(span.rows)]
    if not measured:
        return SpanLook(rows, unreadable)
    by_row, sums = measured[0].by_row, measured[0].sums
    return SpanLook(
        rows,
        unreadable,
        {name: np.concatenate([span.by_row[name] for span in measured]) for name in by_row},
        {name: np.sum([span.sums[name] for span in measured], axis=0) for name in sums},
    )


def look_at_rows(split: Split, measure: Measure, rows: range, threads: int) -> Generator[SpanLook]:
    """Measure some rows in threads of this process, ROWS at a time; yields them in their order."""

    def work(start: int) -> SpanLook:
        return look_at_span(split, measure, start, min(start + ROWS, rows.stop))

    yield from Threads(threads).map(work, range(rows.start, rows.stop, ROWS))


def gathered(
    split: Split, spans: Iterable[SpanLook], progress: Callable[[int], None] = lambda done: None
) -> Look:
    """The look at a split from the measurements of all its spans.

    Parameters
    ----------
    split
        The patches.
    spans
        Their measurements.
    progress
        Called with the number of patches done.
    """
    look = empty(split)
    for span in spans:
        look.there[span.rows] = True
        look.unreadable |= span.unreadable
        for name, values in span.by_row.items():
            getattr(look, name)[span.rows] = values
        for name, values in span.sums.items():
            getattr(look, name)[...] += values
        progress(len(span.rows) + len(span.unreadable))
    return look
