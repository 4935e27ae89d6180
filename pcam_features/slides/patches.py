"""Patches like PCam's from slides of one's own, with labels from outlines of tumor.

A patch is labeled tumor if an outline reaches its center of 32×32 pixels. The result is a source in a
layout of `convert`, with the slide of each patch; no slide is in two splits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from ..constants import STRIDE, Layout
from ..convert.convert import convert
from ..errors import InputError
from ..geometry import CENTER, PATCH_SIZE, THIRD
from ..sources.source import Source, Split
from ..store.layout import PART_ROWS
from ..words import counted, one_line
from .annotations import SUFFIXES, Annotations, annotations_in, read_annotations
from .grid import Grid, SlidePatches
from .predictor import Predictor, begun_once
from .reading import open_slide
from .tissue import tissue_of

POSITIONS = "positions.csv"
TRAIN, TEST = "train", "test"
BAND = 64  # rows of the grid whose labels are drawn at a time
PROTOCOL = (
    "Cut from slides by pcam: label 1 if an outline of tumor reaches the center 32×32. No slide is in "
    "two splits."
)
HARD_OF = 2  # of so many normal patches, one is a hard one
HIDDEN = "."


@dataclass(frozen=True)
class PatchOptions:
    """How patches are cut from slides.

    Parameters
    ----------
    mpp
        Micrometers per pixel of all slides; None for what each file tells.
    stride
        Distance of neighboring patches in pixels at PCam's scale.
    balanced
        Whether a slide gives as many normal patches as it has tumor patches; of a slide without tumor,
        as many as slides with tumor give on average. Otherwise all patches are taken.
    most
        The most patches of one slide; None for any number.
    test
        The share of slides that go to the split `test`.
    unannotated
        Whether a slide without a file of annotations has no tumor. Otherwise it is refused.
    tumor
        The names of classes that are tumor; empty for the usual ones.
    seed
        Seed of the draw of patches and of splits.
    """

    mpp: float | None = None
    stride: int = STRIDE
    balanced: bool = True
    most: int | None = None
    test: float = 0.0
    unannotated: bool = False
    tumor: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class SlidePart:
    """What one slide gave.

    Parameters
    ----------
    slide, split
        Its name, and the split of its patches.
    tumor, normal
        Number of patches taken.
    hard
        Number of normal patches that were taken because a model sees tumor in them.
    tumor_found, normal_found
        Number of patches on tissue.
    unreadable
        Number of patches that were drawn and could not be read; others took their place.
    outlines
        Number of polygons of tumor.
    """

    slide: str
    split: str
    tumor: int
    normal: int
    hard: int
    tumor_found: int
    normal_found: int
    unreadable: int
    outlines: int


@dataclass(frozen=True)
class CutPatches:
    """What `cut_slides` wrote: the folder, and what each slide gave."""

    folder: Path
    parts: tuple[SlidePart, ...]

    @property
    def notes(self) -> list[str]:
        """What was left out, in sentences without a period."""
        unreadable = sum(part.unreadable for part in self.parts)
        blank = [part.slide for part in self.parts if not part.tumor + part.normal]
        found = []
        if unreadable:
            found.append(
                f"warning: {counted(unreadable, 'patch')} could not be read and "
                f"{'was' if unreadable == 1 else 'were'} left out"
            )
        if blank:
            found.append(
                f"warning: no patches of {counted(len(blank), 'slide')}: {', '.join(blank[:5])}"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"folder": str(self.folder), "slides": [asdict(part) for part in self.parts]}


@dataclass(frozen=True)
class Candidates:
    """The patches of a slide that may be taken.

    Parameters
    ----------
    path, outlines
        The slide's file, and its annotations.
    grid, places, labels
        The grid; row and column of each patch on tissue, int32 (patches, 2); and its label, int8.
    """

    path: Path
    outlines: Annotations
    grid: Grid
    places: np.ndarray
    labels: np.ndarray

    @property
    def name(self) -> str:
        """The slide's name."""
        return self.path.stem

    @property
    def normal(self) -> int:
        """Number of patches without tumor."""
        return int((self.labels == 0).sum())


@dataclass(frozen=True)
class Taken:
    """The patches that are taken of a slide.

    Parameters
    ----------
    candidates
        Those that may be taken.
    rows
        The positions of what is taken among the candidates, ascending, int64.
    hard
        Which of the rows were taken because a model sees tumor in them, bool.
    unreadable
        Number of patches that were drawn and could not be read.
    """

    candidates: Candidates
    rows: np.ndarray
    hard: np.ndarray
    unreadable: int


def slides_in(path: Path) -> list[Path]:
    """The slides at a path: a file, or the files of a folder that are no annotations.

    Raises InputError if there is none, or two have one name.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path} does not exist; give a slide or a folder of slides.")
    files = [
        file
        for file in sorted(path.iterdir())
        if file.is_file() and not file.name.startswith(HIDDEN) and file.suffix.lower() not in SUFFIXES
    ]
    if not files:
        raise InputError(f"{path} has no files of slides; give a slide or a folder of slides.")
    names = [file.stem for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has two slides called {twice}; rename one.")
    return files


def annotations_of(slide: Path, folder: Path, options: PatchOptions) -> Annotations:
    """The annotations of a slide, in the file of its name.

    Raises InputError if it is missing, unless `options.unannotated`, or cannot be read.
    """
    if folder.is_file():
        return read_annotations(folder, options.tumor)
    return annotations_in(
        folder, slide.stem, slide.name, tumor=options.tumor, unannotated=options.unannotated
    )


def labels_of(outlines: Annotations, grid: Grid, places: np.ndarray) -> np.ndarray:
    """PCam's label of each patch, int8 (patches,): 1 if tumor reaches its center.

    Parameters
    ----------
    outlines
        The outlines of tumor.
    grid, places
        The grid, and row and column of each patch.
    """
    labels = np.zeros(len(places), np.int8)
    width = (grid.columns - 1) * grid.stride + PATCH_SIZE
    for first in range(0, grid.rows, BAND):
        own = np.flatnonzero((places[:, 0] >= first) & (places[:, 0] < first + BAND))
        if not len(own) or not outlines.tumor:
            continue
        top = first * grid.stride + CENTER[0]
        height = (BAND - 1) * grid.stride + THIRD
        drawn = outlines.mask(0, top, (width, height), grid.step)
        sums = cv2.integral(drawn.astype(np.uint8), sdepth=cv2.CV_64F)  # exact, and has no largest sum
        y = (places[own, 0] - first) * grid.stride
        x = places[own, 1] * grid.stride + CENTER[0]
        inside = sums[y + THIRD, x + THIRD] - sums[y, x + THIRD] - sums[y + THIRD, x] + sums[y, x]
        labels[own] = inside > 0
    return labels


def candidates_of(path: Path, folder: Path, options: PatchOptions, threads: int) -> Candidates:
    """The patches of a slide on tissue, with labels. Raises InputError if it cannot be read."""
    outlines = annotations_of(path, folder, options)
    with open_slide(path, options.mpp) as slide:
        tissue = tissue_of(slide, None, threads)
        grid = Grid.of(slide.width, slide.height, slide.mpp, options.stride)
        places = grid.on_tissue(tissue.mask, tissue.seen)
    return Candidates(path, outlines, grid, places, labels_of(outlines, grid, places))


def wanted_of(found: Sequence[Candidates], options: PatchOptions) -> list[tuple[int, int]]:
    """How many tumor and normal patches are wanted of each slide.

    Examples
    --------
    >>> grid, places = Grid(5, 1, 32, 1.0), np.zeros((5, 2), np.int32)
    >>> def slide(labels):
    ...     return Candidates(Path("s"), Annotations(), grid, places, np.array(labels))
    >>> slides = [slide([1, 1, 0, 0, 0]), slide([0] * 5)]
    >>> wanted_of(slides, PatchOptions()), wanted_of(slides, PatchOptions(balanced=False))
    ([(2, 2), (0, 2)], [(2, 3), (0, 5)])
    """
    counts = [(int((one.labels == 1).sum()), int((one.labels == 0).sum())) for one in found]
    wanted = counts
    if options.balanced:
        with_tumor = [min(tumor, normal) for tumor, normal in counts if tumor]
        usual = round(np.mean(with_tumor)) if with_tumor else max(normal for _, normal in counts)
        wanted = [
            (min(tumor, normal),) * 2 if tumor else (0, min(normal, usual)) for tumor, normal in counts
        ]
    if options.most is None:
        return wanted
    return [shared_out(tumor, normal, options.most) for tumor, normal in wanted]


def shared_out(tumor: int, normal: int, most: int) -> tuple[int, int]:
    """Numbers of tumor and normal patches that are together at most `most`, in about their proportion.

    Examples
    --------
    >>> shared_out(50, 50, 20), shared_out(2, 98, 10), shared_out(3, 4, 10)
    ((10, 10), (1, 9), (3, 4))
    """
    if tumor + normal <= most:
        return tumor, normal
    kept = min(tumor, max(min(tumor, 1), round(most * tumor / (tumor + normal))))
    return kept, most - kept


def hardness_of(
    found: Candidates,
    models: Sequence[Predictor],
    mpp: float | None,
    progress: Callable[[int], None],
) -> np.ndarray:
    """How much each normal patch looks like tumor, float64 (patches,); NaN if unknown.

    It is the highest probability that one of the models gives.
    """
    hardness = np.full(len(found.places), np.nan)
    normal = np.flatnonzero(found.labels == 0)
    with open_slide(found.path, mpp) as slide:
        for start in range(0, len(normal), PART_ROWS):
            rows = normal[start : start + PART_ROWS]
            for model in models:
                patches = SlidePatches(slide, found.grid, found.places[rows])
                hardness[rows] = np.fmax(hardness[rows], model.probabilities(patches, progress))
    return hardness


def hardest_of(rows: np.ndarray, hardness: np.ndarray, count: int) -> np.ndarray:
    """The rows whose patches look most like tumor, the hardest first.

    Examples
    --------
    >>> hardest_of(np.array([1, 3, 4]), np.array([0.9, 0.2, 0.9, 0.8, np.nan]), 2)
    array([3, 1])
    """
    known = rows[np.isfinite(hardness[rows])]
    return np.asarray(known[np.argsort(-hardness[known], kind="stable")][:count])


def take(
    found: Candidates,
    wanted: tuple[int, int],
    options: PatchOptions,
    hardness: np.ndarray | None = None,
) -> Taken:
    """Draw patches of a slide at random; one that cannot be read is replaced by another.

    The draw depends on the seed and the slide's name, not on other slides. With `hardness`, half of the
    normal patches are the hardest, and the others are the first of those that are drawn without it.
    """
    rng = np.random.default_rng([options.seed, *found.name.encode(errors="replace")])
    chosen: dict[int, bool] = {}  # whether it is a hard one
    unreadable = 0
    with open_slide(found.path, options.mpp) as slide:
        patches = SlidePatches(slide, found.grid, found.places)
        for label, count in zip((1, 0), wanted, strict=True):
            rows = np.flatnonzero(found.labels == label)
            hard: list[int] = []
            if hardness is not None and label == 0:
                hard = hardest_of(rows, hardness, count // HARD_OF).tolist()
            hard_ones, kept = set(hard), 0
            for row in dict.fromkeys([*hard, *rng.permutation(rows).tolist()]):
                if kept == count:
                    break
                patches.read(row, row + 1)
                if row in patches.unreadable:
                    unreadable += 1
                    continue
                chosen[row] = row in hard_ones
                kept += 1
    taken = sorted(chosen)
    by_model = np.array([chosen[row] for row in taken], bool)
    return Taken(found, np.array(taken, np.int64), by_model, unreadable)


def splits_of(names: Sequence[str], options: PatchOptions) -> dict[str, str]:
    """The split of each slide, drawn at random; at least one stays in `train`.

    Examples
    --------
    >>> drawn = splits_of(["a", "b", "c", "d"], PatchOptions(test=0.25))
    >>> sorted(drawn.values())
    ['test', 'train', 'train', 'train']
    """
    rng = np.random.default_rng([options.seed, 1])
    count = min(round(len(names) * options.test), len(names) - 1)
    apart = {names[k] for k in rng.permutation(len(names))[:count]}
    return {name: TEST if name in apart else TRAIN for name in names}


def ids_of(taken: Taken) -> list[str]:
    """An id of each patch: the slide, and where the patch begins in pixels of level 0."""
    found = taken.candidates
    corners = (found.grid.corner(*place) for place in found.places[taken.rows].tolist())
    return [f"{found.name}_x{x}_y{y}" for x, y in corners]


def split_named(name: str, taken: Sequence[Taken], options: PatchOptions) -> Split:
    """A split of the patches of some slides; a slide is opened for each batch that is read of it."""
    starts = np.cumsum([0, *(len(one.rows) for one in taken)])

    def read(start: int, stop: int) -> np.ndarray:
        parts = []
        for one, first, last in zip(taken, starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            low, high = max(start, first), min(stop, last)
            if low < high:
                places = one.candidates.places[one.rows[low - first : high - first]]
                with open_slide(one.candidates.path, options.mpp) as slide:
                    patches = SlidePatches(slide, one.candidates.grid, places)
                    parts.append(patches.read(0, len(places)))
        return np.concatenate(parts)

    return Split(
        name=name,
        ids=[patch for one in taken for patch in ids_of(one)],
        labels=np.concatenate([one.candidates.labels[one.rows] for one in taken]),
        slides=[one.candidates.name for one in taken for _ in one.rows],
        content=lambda start, stop: "",
        read=read,
    )


def positions(taken: Sequence[Taken], split: dict[str, str]) -> pd.DataFrame:
    """Where each patch is: id, split, slide, x and y of its left and upper edge in level 0, label, and
    whether a model chose it.
    """
    tables = []
    for one in taken:
        found = one.candidates
        corners = [found.grid.corner(*place) for place in found.places[one.rows].tolist()]
        tables.append(
            pd.DataFrame(
                {
                    "id": ids_of(one),
                    "split": split[found.name],
                    "slide": found.name,
                    "x": [x for x, _ in corners],
                    "y": [y for _, y in corners],
                    "label": found.labels[one.rows],
                    "hard": one.hard.astype(np.int8),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def protocol_of(models: Sequence[Predictor]) -> str:
    """How the patches were cut."""
    if not models:
        return PROTOCOL
    names = ", ".join(one_line(str(model.path)) for model in models)
    return f"{PROTOCOL} Half of train's normal patches are those that most resemble tumor by {names}."


@dataclass(frozen=True)
class FoundPatches:
    """The patches that were drawn of all slides, the split of each slide, and the models that chose."""

    slides: Path
    taken: tuple[Taken, ...]
    split: dict[str, str]
    options: PatchOptions
    models: tuple[Predictor, ...] = ()

    @property
    def count(self) -> int:
        """Number of patches."""
        return sum(len(one.rows) for one in self.taken)

    def source(self) -> Source:
        """The patches as a source."""
        written = {
            name: split_named(name, own, self.options)
            for name in (TRAIN, TEST)
            if (own := [one for one in self.taken if self.split[one.candidates.name] == name])
            and any(len(one.rows) for one in own)
        }
        return Source("slides", str(self.slides), protocol_of(self.models), written)


def find_patches(
    slides: Path,
    annotations: Path,
    options: PatchOptions,
    threads: int,
    models: Sequence[Predictor] = (),
    display: Callable[[int], Any] = lambda total: nullcontext(lambda done: None),
) -> FoundPatches:
    """Find the patches of slides and draw those to take; see `write_patches`.

    Parameters
    ----------
    slides
        A slide, or a folder of slides.
    annotations
        A folder with a file of each slide's name, or the file of a single slide.
    options
        How patches are cut.
    threads
        Number of threads.
    models
        The models by which half of the normal patches are chosen, on slides of the split `train`.
    display
        Called with the number of patches that models predict; a context manager that yields a function,
        which is told of patches that are done.

    Raises
    ------
    InputError
        If a slide or its annotations cannot be read, or there is no tissue in any slide.
    """
    paths = slides_in(slides)
    if annotations.is_file() and len(paths) > 1:
        raise InputError(
            f"{annotations} is one file, and there are {counted(len(paths), 'slide')}; give a folder "
            "with a file of each slide's name."
        )
    found = [candidates_of(path, annotations, options, threads) for path in paths]
    split = splits_of([one.name for one in found], options)
    judged = [one for one in found if models and split[one.name] == TRAIN]
    hardness: dict[str, np.ndarray] = {}
    if judged:
        with display(sum(one.normal for one in judged) * len(models)) as advance:
            told = begun_once(advance)
            hardness = {one.name: hardness_of(one, models, options.mpp, told) for one in judged}
    pairs = zip(found, wanted_of(found, options), strict=True)
    taken = tuple(take(one, wanted, options, hardness.get(one.name)) for one, wanted in pairs)
    if not any(len(one.rows) for one in taken):
        raise InputError(f"no tissue was found in {slides}; give slides with tissue.")
    return FoundPatches(slides, taken, split, options, tuple(models))


def write_patches(
    found: FoundPatches,
    folder: Path,
    to: Layout,
    threads: int,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> CutPatches:
    """Write patches as a source.

    Parameters
    ----------
    found
        What `find_patches` gave.
    folder
        The folder to create.
    to
        The layout to write.
    threads
        Number of threads.
    overwrite
        Whether an earlier result in `folder` may be replaced.
    progress
        Called with the number of patches that were just written.

    Raises
    ------
    InputError
        If the folder cannot be created.
    """
    source = found.source()
    table = positions(found.taken, found.split)

    def beside(made: Path) -> None:
        table.to_csv(made / POSITIONS, index=False)

    convert(
        source,
        list(source.splits.values()),
        folder,
        to,
        threads,
        overwrite=overwrite,
        progress=progress,
        beside=beside,
    )
    return CutPatches(folder, tuple(part_of(one, found.split) for one in found.taken))


def part_of(taken: Taken, split: dict[str, str]) -> SlidePart:
    """What a slide gave."""
    found = taken.candidates
    labels = found.labels[taken.rows]
    return SlidePart(
        slide=found.name,
        split=split[found.name],
        tumor=int((labels == 1).sum()),
        normal=int((labels == 0).sum()),
        hard=int(taken.hard.sum()),
        tumor_found=int((found.labels == 1).sum()),
        normal_found=int((found.labels == 0).sum()),
        unreadable=taken.unreadable,
        outlines=len(found.outlines.tumor),
    )
