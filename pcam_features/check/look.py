"""What a look at each patch of a source finds: its sum, colors, sharpness, ink, and itself in small.

Gray is OpenCV's 0.299 R + 0.587 G + 0.114 B; levels are 0 … 255, shares 0 … 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import joblib
import numpy as np

from ..engine import cpu
from ..engine.kernel import Kernel
from ..errors import InputError
from ..families.registry import FAMILIES, kernels_of, measurer
from ..geometry import PATCH_SIZE
from ..sources.images import SHAPE
from ..sources.source import Split

ROWS = 128  # patches a thread looks at together
SMALL = 8  # pixels a side of a patch in small
DARK = 60  # the brightest channel of a pixel that is no more stain
INK = (
    (38, 71, 31),
    (117, 255, 255),
)  # OpenCV's hue, saturation, value: 75 to 235 degrees, as no stain is
LABELS = (0, 1, None)
FAMILY, MEAN = "color", "color__mean__patch_"
COLUMNS = [k for k, name in enumerate(FAMILIES[FAMILY].columns) if name.startswith(MEAN)]
NAMES = [FAMILIES[FAMILY].columns[k] for k in COLUMNS]
Measure = Callable[[np.ndarray], np.ndarray]


@dataclass
class Look:
    """What is known of a split's patches, a row each; rows that cannot be read are not `there`.

    `sha1` uint8 (rows, 20), of the pixels; `color` float32 (rows, columns NAMES); `gray`, `deviation`
    levels; `sharpness` the variance of the Laplacian; `dark`, `ink` shares of pixels; `small` uint8
    (rows, 8, 8). By label (0, 1, none): `histogram` pixels (3, 3, 256) of red, green and blue, `total`
    the sum of patches, and `count`.
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
        """The mean of a plane over each patch, in its levels (rows,)."""
        values: np.ndarray = self.color[:, NAMES.index(MEAN + plane)]
        return values


def empty(split: Split) -> Look:
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
    """The patches of a span that can be read, and why the others cannot, by row."""
    try:
        return split.read(start, stop), {}
    except InputError:
        pass
    found, unreadable = [], {}
    for row in range(start, stop):
        try:
            found.append(split.read(row, row + 1))
        except InputError as error:
            unreadable[row] = str(error)
    return np.concatenate([np.zeros((0, *SHAPE), np.uint8), *found]), unreadable


def see(batch: np.ndarray, measure: Measure) -> dict[str, np.ndarray]:
    """The fields of `Look` for a batch of patches that are there."""
    strip = batch.reshape(-1, PATCH_SIZE, 3)
    gray = cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY).reshape(-1, PATCH_SIZE, PATCH_SIZE)
    hsv = cv2.cvtColor(strip, cv2.COLOR_RGB2HSV)
    ink = cv2.inRange(hsv, *(np.array(bound, np.uint8) for bound in INK)).reshape(len(batch), -1)
    cell = PATCH_SIZE // SMALL
    moments = [cv2.meanStdDev(one) for one in gray]
    laplacians = [cv2.meanStdDev(cv2.Laplacian(one, cv2.CV_32F)) for one in gray]
    digests = [hashlib.sha1(one.tobytes(), usedforsecurity=False).digest() for one in batch]
    return {
        "sha1": np.array([np.frombuffer(one, np.uint8) for one in digests]),
        "color": measure(batch),
        "gray": np.array([mean[0, 0] for mean, _ in moments]),
        "deviation": np.array([deviation[0, 0] for _, deviation in moments]),
        "sharpness": np.array([deviation[0, 0] ** 2 for _, deviation in laplacians]),
        "dark": (hsv[..., 2].reshape(len(batch), -1) < DARK).mean(axis=1),
        "ink": (ink > 0).mean(axis=1),
        "small": gray.reshape(-1, SMALL, cell, SMALL, cell).mean(axis=(2, 4)).astype(np.uint8),
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
    """What is compiled for `color_measure`."""
    return kernels_of([FAMILIES[FAMILY]])


def color_measure() -> Measure:
    """What measures the color columns of a batch, compiled the first time on a machine."""
    measured = measurer([FAMILIES[FAMILY]], cpu)
    return lambda batch: measured(batch, [FAMILY])[FAMILY][:, COLUMNS]


def look_at(split: Split, measure: Measure, threads: int, progress: Callable[[int], None]) -> Look:
    """A look at every patch of a split; `progress` is told of rows as they are done."""
    found = empty(split)

    def work(
        start: int, stop: int
    ) -> tuple[np.ndarray, dict[str, Any], dict[str, Any], dict[int, str]]:
        batch, unreadable = read_what_can_be(split, start, stop)
        rows = np.array([row for row in range(start, stop) if row not in unreadable], np.int64)
        if not len(rows):
            return rows, {}, {}, unreadable
        labels = None if split.labels is None else split.labels[rows]
        return rows, see(batch, measure), by_label(batch, labels), unreadable

    spans = [(k, min(k + ROWS, len(split))) for k in range(0, len(split), ROWS)]
    parallel = joblib.Parallel(threads, backend="threading", return_as="generator_unordered")
    results: Iterator[Any] = parallel(joblib.delayed(work)(*span) for span in spans)
    for rows, seen, sums, unreadable in results:
        found.there[rows] = True
        found.unreadable |= unreadable
        for name, values in seen.items():
            getattr(found, name)[rows] = values
        for name, values in sums.items():
            getattr(found, name)[...] += values
        progress(len(rows) + len(unreadable))
    return found
