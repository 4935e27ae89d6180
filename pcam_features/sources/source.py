"""The data model: a source has splits, and a split has patches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from ..constants import Fitting
from ..errors import InputError
from ..geometry import PATCH_SIZE
from ..storage.urls import text_of
from ..words import counted
from . import view
from .fitting import Fit, Size, SizeError
from .ids import ENDINGS, examples, matched
from .opening import Opening
from .reading import EVERYTHING, Reading
from .vocabulary import split_name

if TYPE_CHECKING:
    import pandas as pd

UNPACK = "unpack"  # begins the title under which unpacking is shown
EXAMPLES = 10  # ids listed with a problem
MOST_TRIED = 100  # patches tried to find the size of a readable one
# Gives the image of a row, uint8 (height, width, 3). Raises InputError if it has not the given size.
Original = Callable[[int, Size | None], np.ndarray]


@dataclass(frozen=True)
class Problem:
    """A fault of a source.

    Parameters
    ----------
    kind
        The kind of fault, such as `missing file`.
    count
        Number of patches with this fault.
    examples
        The ids of some of them.
    says
        A sentence for messages.
    serious
        Whether it must be corrected before the data are used; otherwise it should be looked at.
    """

    kind: str
    count: int
    examples: Sequence[str]
    says: str
    serious: bool = True


def problem(kind: str, ids: Sequence[str], says: str) -> list[Problem]:
    """A list with one problem of these patches; empty if `ids` is empty."""
    return [Problem(kind, len(ids), list(ids[:EXAMPLES]), says)] if ids else []


@dataclass(frozen=True, repr=False)
class Split:
    """Patches of one part of a data set, in a fixed order.

    Parameters
    ----------
    name
        The name of the split, such as `train`.
    ids
        The ids of the patches; they are unique.
    labels
        int8 (patches,) of 0 and 1, where 1 is tumor; None without labels.
    slides
        The slide of each patch; None where unknown.
    content
        `content(start, stop)` is a digest of what is known about these rows without reading pixels,
        such as file sizes.
    read
        `read(start, stop)` gives these rows as uint8 (rows, 96, 96, 3), RGB, C-contiguous and
        writeable. It is thread-safe, and raises InputError for a patch that cannot be read.
    original
        `original(row, size)` gives an image as it is stored, of any size; None if all patches are
        96×96 by definition.
    tiles
        For patches that are cut into tiles, `tiles(start, stop)` gives uint8 (rows, `tile_count`, 96,
        96, 3). `read` then gives the whole patch, resized.
    tile_count
        Number of tiles per patch.
    """

    name: str
    ids: list[str]
    labels: np.ndarray | None
    slides: list[str | None]
    content: Callable[[int, int], str]
    read: Callable[[int, int], np.ndarray]
    original: Original | None = None
    tiles: Callable[[int, int], np.ndarray] | None = None
    tile_count: int = 1

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Split({self.name!r}, {counted(len(self), 'patch')})"

    def _repr_html_(self) -> str:
        return view.table_html(f"split {self.name}", [self])

    @property
    def images(self) -> view.PatchImages:
        """The patches by row: `images[i]` is uint8 (96, 96, 3), `images[:8]` is (8, 96, 96, 3)."""
        return view.PatchImages([self])

    def sample(self, count: int = 9, *, seed: int = 0) -> view.Sample:
        """Draw patches at random, to look at; see `Source.sample`."""
        return view.sample([self], count, seed)

    def frame(self) -> pd.DataFrame:
        """One row per patch: id, label, slide, split; see `Source.frame`."""
        return view.frame([self])

    def image(self, row: int, size: Size | None) -> np.ndarray:
        """The image of a row as it is stored, uint8 (height, width, 3).

        Raises InputError if it cannot be read, or has another size than `size`.
        """
        if self.original is not None:
            return self.original(row, size)
        pixels: np.ndarray = self.read(row, row + 1)[0]
        return pixels

    def fitted(self, fit: Fit) -> Split:
        """The same split with its patches brought to 96×96 pixels."""

        def read(start: int, stop: int) -> np.ndarray:
            batch = np.empty((stop - start, PATCH_SIZE, PATCH_SIZE, 3), np.uint8)
            for row in range(start, stop):
                batch[row - start] = fit.patch(self.image(row, fit.size))
            return batch

        def tiles(start: int, stop: int) -> np.ndarray:
            return np.stack([fit.tiles(self.image(row, fit.size)) for row in range(start, stop)])

        if fit.how != Fitting.tile:
            return replace(self, read=read)
        return replace(self, read=read, tiles=tiles, tile_count=fit.tile_count)

    def taking(self, rows: Sequence[int]) -> Split:
        """The same split with only these rows, in ascending order."""
        kept = np.asarray(rows, np.int64)
        if len(kept) == len(self):
            return self

        def read(start: int, stop: int) -> np.ndarray:
            return joined(self.read, kept[start:stop])

        def tiles(start: int, stop: int) -> np.ndarray:
            assert self.tiles is not None
            return joined(self.tiles, kept[start:stop])

        def content(start: int, stop: int) -> str:
            spans = [(int(run[0]), int(run[-1]) + 1) for run in runs(kept[start:stop])]
            return digest(f"{low} {high} {self.content(low, high)}" for low, high in spans)

        return replace(
            self,
            ids=[self.ids[row] for row in kept],
            labels=None if self.labels is None else self.labels[kept],
            slides=[self.slides[row] for row in kept],
            content=content,
            read=read,
            original=lambda row, size: self.image(int(kept[row]), size),
            tiles=None if self.tiles is None else tiles,
        )

    def fingerprint(self) -> dict[str, str]:
        """Digests of ids, labels and slides, which must not change while stored features are used."""
        labels = None if self.labels is None else self.labels.tolist()
        parts: dict[str, object] = {
            "ids": self.ids,
            "labels": labels,
            "slides": self.slides,
        }
        return {name: digest([repr(part)]) for name, part in parts.items()}


@dataclass(frozen=True, repr=False)
class Source:
    """A data set in any layout: its splits, and how it may be used.

    The properties `ids`, `labels`, `slides` and `images` cover all splits, in the order of `splits`.

    Parameters
    ----------
    kind
        The layout, one of `constants.Kind`.
    path
        Where the source was opened.
    protocol
        A sentence on how the data set may be used.
    splits
        The splits by name.
    problems
        Faults of the source. Faulty patches may be missing from the splits.
    fit
        How patches of another size are brought to 96×96 pixels; None if they have that size.
    unread
        What lies beside the patches and is not read, by reason. It does not make the source faulty.
    notes
        How the layout was understood, in sentences without a period.
    reading
        The options on what of it is read.
    opening
        How it was opened, so that another process can open it too; None for a source that was not
        opened from a path.

    Examples
    --------
    >>> from pcam_features.sources.detect import open_source
    >>> source, _ = open_source("synthetic:40:4:0")
    >>> source
    Source('synthetic:40:4:0', kind synthetic, 50 patches: train 40, test 10)
    >>> source.images[0].shape, source.images[38:42].shape
    ((96, 96, 3), (4, 96, 96, 3))
    >>> source.split("test").ids[0]
    'test_0000000'
    >>> source.sample(3, split="test").images.shape
    (3, 96, 96, 3)
    >>> list(source.frame().columns)
    ['id', 'label', 'slide', 'split']
    """

    kind: str
    path: str
    protocol: str
    splits: dict[str, Split]
    problems: Sequence[Problem] = ()
    fit: Fit | None = None
    unread: Sequence[Problem] = ()
    notes: Sequence[str] = ()
    reading: Reading = EVERYTHING
    opening: Opening | None = None

    def __len__(self) -> int:
        return sum(len(split) for split in self.splits.values())

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        return f"Source({self.path!r}, kind {self.kind}, {counted(len(self), 'patch')}: {sizes})"

    def _repr_html_(self) -> str:
        """A table of the splits and a few patches, for a notebook."""
        fitted = f"; {self.fit.sentence()}" if self.fit else ""
        return view.table_html(f"{self.path}, read as {self.kind}{fitted}", list(self.splits.values()))

    @property
    def ids(self) -> list[str]:
        """The ids of all patches."""
        return [patch_id for split in self.splits.values() for patch_id in split.ids]

    @property
    def labels(self) -> np.ndarray | None:
        """The labels of all patches, int8 of 0 and 1.

        None if no split has labels; float32 with NaN for unknown ones if only some splits have.
        """
        return view.labels_of(list(self.splits.values()))

    @property
    def slides(self) -> list[str | None]:
        """The slides of all patches; None where not known."""
        return [slide for split in self.splits.values() for slide in split.slides]

    @property
    def images(self) -> view.PatchImages:
        """All patches by row: `images[i]` is uint8 (96, 96, 3), `images[:8]` is (8, 96, 96, 3)."""
        return view.PatchImages(list(self.splits.values()))

    def split(self, name: str) -> Split:
        """The split with this name. Raises InputError if there is none, or if it has no patches."""
        self._check_split(name)
        return self.splits[name]

    def sample(self, count: int = 9, *, split: str | None = None, seed: int = 0) -> view.Sample:
        """Draw patches at random, to look at.

        Parameters
        ----------
        count
            Number of patches; all of them if there are fewer.
        split
            The split to draw from; None for all splits.
        seed
            Seed of the draw.

        Returns
        -------
        Sample
            Has `ids`, `labels`, `slides`, `splits` and `images`, uint8 (n, 96, 96, 3). A notebook shows
            the pictures.

        Raises
        ------
        InputError
            If there is no such split, or a drawn patch cannot be read.
        """
        chosen = list(self.splits.values()) if split is None else [self.split(split)]
        return view.sample(chosen, count, seed)

    def frame(self) -> pd.DataFrame:
        """One row per patch.

        Returns
        -------
        pandas.DataFrame
            Columns `id`, `label` (0 or 1, NaN if not known), `slide` (None if not known) and `split`.
        """
        return view.frame(list(self.splits.values()))

    def check_size(self) -> None:
        """Raise InputError, before anything is written, if the first patch is not 96×96 pixels.

        Other errors of that patch are raised when it is read.
        """
        first = next((split for split in self.splits.values() if len(split)), None)
        if first is None:
            return
        try:
            first.image(0, (PATCH_SIZE, PATCH_SIZE))
        except SizeError:
            raise
        except InputError:
            return

    def patch_size(self) -> Size:
        """Width and height of the first patch that can be read. Raises InputError if none can."""
        first: InputError | None = None
        rows = ((split, row) for split in self.splits.values() for row in range(len(split)))
        for split, row in islice(rows, MOST_TRIED):
            try:
                height, width = split.image(row, None).shape[:2]
            except InputError as error:
                first = first or error
            else:
                return width, height
        raise first or InputError(f"{self.path} has no patches; give another path.")

    def fitted(self, how: Fitting, mpp: float | None) -> Source:
        """The same source with its patches brought to 96×96 pixels; see `fitting`.

        Raises InputError if the first patch cannot be brought to that size in this way. A patch of
        another size than the first is an InputError when it is read.
        """
        fit = Fit(how, mpp, *self.patch_size())
        if fit.changes_nothing:
            return self
        return replace(self, fit=fit, splits={n: s.fitted(fit) for n, s in self.splits.items()})

    def with_rows(self, rows: Mapping[str, Sequence[int]], left_out: Problem) -> Source:
        """The same source with only these rows of each split, and a record of what is left out."""
        splits = {name: split.taking(rows[name]) for name, split in self.splits.items()}
        return replace(self, splits=splits, unread=[*self.unread, left_out])

    def with_slides(self, slides: Mapping[str, str], where: str) -> Source:
        """The same source with slides from a table; other ids have unknown slides.

        Raises InputError if no id of the table is in the source.
        """
        given = list(slides)
        found = {
            name: {i: slides[text] for i, text in pairs.items()}
            for name, pairs in self.named_in(slides).items()
        }
        if not any(found.values()):  # the table may name files instead, such as ID.tif
            pairs = matched(given, list(set(self.ids))) or {}
            found = {name: {i: slides[own] for i, own in pairs.items()} for name in self.splits}
        told = replace(self, splits={n: named(s, found[n]) for n, s in self.splits.items()})
        if not any(slide for split in told.splits.values() for slide in split.slides):
            raise InputError(
                f"none of the ids in {where} is in {self.path}; give the slide table of this source "
                f"(its ids are such as {examples(given)}, the source's {examples(self.ids)})."
            )
        return told

    def named_in(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """The ids of each split that are among some names, with these: as ids, files or paths.

        An id is the end of a path, with `_` for `/`, as the layouts name patches. Of several splits
        that have it, a path is of that which it names last; of all, if it names none.
        """
        names = dict.fromkeys(names)
        there: dict[str, list[str]] = {}
        for name, split in self.splits.items():
            for i in split.ids:
                there.setdefault(i, []).append(name)
        found: dict[str, dict[str, str]] = {name: {} for name in self.splits}
        for text in names:
            parts = PurePosixPath(ENDINGS.sub("", text.strip().replace("\\", "/"))).parts
            ends = ("_".join(parts[k:]) for k in range(len(parts)))
            own = text if text in there else next((end for end in ends if end in there), None)
            if own is None or (own != text and own in names):
                continue
            said = next(filter(None, map(split_name, reversed(parts[:-1]))), None)
            for name in [one for one in there[own] if one == said] or there[own]:
                found[name][own] = text
        return found

    def without_slides(self) -> Source:
        """The same source with unknown slides."""
        return replace(self, splits={n: named(s, {}) for n, s in self.splits.items()})

    def only(self, names: str | None) -> list[Split]:
        """The splits in a comma-separated list, in that order; None means all that have patches.

        Raises InputError for an unknown name, and for a split without patches.
        """
        wanted = [name for name, split in self.splits.items() if len(split)]
        if names is not None:
            wanted = [name.strip() for name in names.split(",")]
        wanted = list(dict.fromkeys(wanted))
        return [self.split(name) for name in wanted]

    def _check_split(self, name: str) -> None:
        if name not in self.splits:
            raise InputError(f"{self.path} has no split {name!r}; it has: {', '.join(self.splits)}.")
        if not len(self.splits[name]):
            raise InputError(f"split {name!r} of {self.path} has no patches; choose another split.")


@dataclass(frozen=True)
class Part:
    """A split, its faults, what is not read of it, and how it was understood."""

    split: Split
    problems: Sequence[Problem] = ()
    unread: Sequence[Problem] = ()
    notes: Sequence[str] = ()


def source_of(kind: str, path: Path, protocol: str, parts: Iterable[Part]) -> Source:
    """A source from its splits. A note that several have is kept once."""
    parts = list(parts)
    return Source(
        kind,
        text_of(path),
        protocol,
        {part.split.name: part.split for part in parts},
        problems=[one for part in parts for one in part.problems],
        unread=[one for part in parts for one in part.unread],
        notes=list(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def runs(rows: np.ndarray) -> list[np.ndarray]:
    """Ascending rows in runs that follow each other without a gap."""
    return np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []


def joined(read: Callable[[int, int], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Read some rows, run by run."""
    parts = [read(int(run[0]), int(run[-1]) + 1) for run in runs(rows)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def named(split: Split, slides: Mapping[str, str]) -> Split:
    """The split with slides from a table by id; other ids have unknown slides."""
    return replace(split, slides=[slides.get(i) for i in split.ids])


def train_first(names: Iterable[str]) -> list[str]:
    """Names of splits: train, valid, test, then the others."""
    return sorted(names, key=lambda name: (("train", "valid", "test", name).index(name), name))


def numbered(split: str, rows: int) -> list[str]:
    """Ids for patches whose layout has no ids."""
    return [f"{split}_patch{k:07d}" for k in range(rows)]


def whole_labels(labels: Sequence[int | None]) -> np.ndarray | None:
    """Labels of a split; None if it has none. Either all patches have one, or none has."""
    return None if all(label is None for label in labels) else np.array(labels, np.int8)


def digest(parts: Iterable[str]) -> str:
    """A short digest of texts, in order."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part.encode())
        state.update(b"\0")
    return state.hexdigest()[:32]
