"""A data set of the size of Kaggle's competition, made of real patches.

    python benchmarks/full_size.py OUT [--patches 277483] [--seed 0] [--base ../shared/data]

OUT gets the competition's layout (train/ID.tif, test/ID.tif, train_labels.csv, sample_submission.csv),
and beside it slides.csv (id,slide) and test_labels.csv (the labels that a competition keeps to itself).
The full size is 220,025 + 57,458 patches and takes 8 GB; `--patches` makes a smaller set with fewer
slides. A run that was stopped goes on when it is started again, and ends in the same files.

Train patches are made of PCam's split `train` and of the labeled Kaggle patches, test patches of PCam's
split `valid`, whose slides are others. Near-duplicates and blank patches are left out. The patches
that remain are divided into pseudo-slides: by slide where it is known, else by stain and brightness,
as `pcam fit` does. A pseudo-slide has one laboratory (amounts of the two stains, exposure, tone curve).
Its patches are variants of its own base patches only: turned or flipped, rolled by up to ROLL pixels,
with a stain that varies a little. So variants of one patch are never in two pseudo-slides.

A roll moves the center that decides the label by up to ROLL pixels, so that some labels are wrong.
`pcam` reads slides.csv by itself; `--slides none` leaves slides unknown, as in the competition.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pcam_features.api.data import open_source
from pcam_features.api.features import features
from pcam_features.check import duplicates, look, quality
from pcam_features.errors import InputError, PcamError
from pcam_features.extraction.shifts import (
    Recipe,
    amounts,
    brightness,
    draw_amounts,
    draw_brightness,
)
from pcam_features.grouping.appearance import FAMILY, looks_of
from pcam_features.grouping.groups import group_codes, group_unknown
from pcam_features.sources.images import PIXEL_BYTES, plain_tiff
from pcam_features.sources.kaggle import LABELS, SAMPLE, TEST, TRAIN
from pcam_features.sources.slides import BESIDE
from pcam_features.sources.source import Split
from pcam_features.storage.files import readable, whole_file
from pcam_features.storage.resumable import STEPS, in_the_making

ROWS = {TRAIN: 220_025, TEST: 57_458}
POSITIVE = 89_117 / 220_025  # share of tumor among Kaggle's train patches
TEST_LABELS = "test_labels.csv"
BASES_OF_SLIDE = 25  # base patches of a pseudo-slide, on average
LEAST_BASES = 500  # of each label in a small set, so that it has some twenty pseudo-slides
THICKNESS = 0.04  # standard deviation of the logarithm of the amount of a stain within a slide
STRENGTH = 1  # moderate: how much laboratories differ
ROLL = 8  # pixels
SHIFTS = 2 * ROLL + 1
VARIANTS = 8 * SHIFTS**2  # orientations and rolls of a base patch
BLOCK = 2048  # patches that are made and recorded together
FILE_BYTES = 28_672  # of a patch on the disk, in whole blocks
SAID_EVERY = 20.0  # seconds between two lines of progress


@dataclass(frozen=True)
class Bases:
    """The base patches of a split.

    Parameters
    ----------
    splits
        Where they are read.
    table
        A row for each: `part` (position in `splits`), `row`, `label`, and `group`, the number of its
        pseudo-slide.
    name
        `train` or `test`.
    """

    splits: tuple[Split, ...]
    table: pd.DataFrame
    name: str

    def read(self, base: int) -> np.ndarray:
        """The pixels of a base patch, uint8 (96, 96, 3)."""
        part, row = self.table[["part", "row"]].to_numpy()[base]
        pixels: np.ndarray = self.splits[part].read(int(row), int(row) + 1)[0]
        return pixels

    def slide(self, group: int) -> str:
        """The name of a pseudo-slide."""
        return f"{self.name}_{group:04d}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def base_splits(base: Path) -> dict[str, tuple[Split, ...]]:
    """The splits that train and test patches are made of."""
    pcam, kaggle = open_source(base / "pcam"), open_source(base / "kaggle")
    return {
        TRAIN: (pcam.splits["train"], kaggle.splits[TRAIN]),
        TEST: (pcam.splits["valid"],),
    }


def kept_rows(splits: Sequence[Split], threads: int) -> list[np.ndarray]:
    """The rows of each split that are used: the first of near-duplicates, and no blank patches."""
    measure = look.color_measure()
    looks = [
        look.gathered(split, look.look_at_rows(split, measure, range(len(split)), threads))
        for split in splits
    ]
    near = duplicates.find(looks).near
    first = np.full(len(near), True)
    grouped = np.flatnonzero(near >= 0)
    first[grouped] = False
    first[grouped[np.unique(near[grouped], return_index=True)[1]]] = True
    shows = np.concatenate([seen.there & ~quality.blank(seen) & ~quality.black(seen) for seen in looks])
    used, ends = first & shows, np.cumsum([len(split) for split in splits])
    left_out = (
        f"{int((~first).sum()):,} near-duplicates, {int((first & ~shows).sum()):,} blank or black"
    )
    say(f"{int(used.sum()):,} base patches; left out: {left_out}")
    return [np.flatnonzero(own) for own in np.split(used, ends[:-1])]


def group_bases(
    name: str, splits: tuple[Split, ...], rows: Sequence[np.ndarray], threads: int
) -> Bases:
    """Divide base patches into pseudo-slides."""
    tables, values = [], []
    for part, (split, own) in enumerate(zip(splits, rows, strict=True)):
        color = features(split, families=FAMILY, threads=threads)
        values.append(color.iloc[own])
        labels = np.zeros(len(split), np.int8) if split.labels is None else split.labels
        slides = [split.slides[row] for row in own]
        known = {"part": part, "row": own, "label": labels[own], "id": [split.ids[k] for k in own]}
        tables.append(pd.DataFrame(known | {"slide": pd.Series(slides, dtype=object)}))
    table, color = pd.concat(tables, ignore_index=True), pd.concat(values)
    looks = looks_of(color.to_numpy(), list(color.columns))
    codes, _ = group_codes(table["id"].tolist(), table["slide"].tolist())
    unknown = table["slide"].isna().to_numpy()
    wanted = max(2, int(unknown.sum()) // BASES_OF_SLIDE)
    group, _ = group_unknown(codes, unknown, looks, wanted, seed=0)
    return Bases(splits, table[["part", "row", "label"]].assign(group=group), name)


def all_bases(base: Path, work: Path, threads: int) -> dict[str, Bases]:
    """The base patches of both splits; what was found is kept in the folder `work`."""
    splits = base_splits(base)
    files = {name: work / f"bases-{name}.csv" for name in splits}
    if not all(file.exists() for file in files.values()):
        say("measuring base patches")
        rows = iter(kept_rows([part for parts in splits.values() for part in parts], threads))
        for name, parts in splits.items():
            bases = group_bases(name, parts, [next(rows) for _ in parts], threads)
            with whole_file(files[name]) as temporary:
                bases.table.to_csv(temporary, index=False)
    return {name: Bases(splits[name], pd.read_csv(file), name) for name, file in files.items()}


def dealt(bases: Bases, rows: int, seed: int) -> np.ndarray:
    """The base patch of each row, sorted by pseudo-slide: int (rows,).

    A set below the full size takes whole pseudo-slides, as many as keep the full size's number of
    variants of a base patch, but not fewer base patches than LEAST_BASES of each label.
    """
    group, labels = bases.table["group"].to_numpy(), bases.table["label"].to_numpy()
    rng = np.random.default_rng([seed, ord(bases.name[1])])
    order = rng.permutation(int(group.max()) + 1)
    rank = np.argsort(order)[group]  # of a base patch's pseudo-slide
    wanted = {1: round(rows * POSITIVE)}
    wanted[0] = rows - wanted[1]
    chosen = []
    for label, count in wanted.items():
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(rank[own], kind="stable")]
        needed = max(min(LEAST_BASES, count, len(own)), -(-len(own) * rows // ROWS[bases.name]))
        used = own[: np.searchsorted(rank[own], rank[own[needed - 1]], side="right")]
        times, more = divmod(count, len(used))
        if times >= VARIANTS:
            raise InputError(f"{rows:,} patches are too many for {len(used):,} base patches.")
        chosen += [np.repeat(used, times), rng.choice(used, more, replace=False)]
    base = np.concatenate(chosen)
    return base[np.lexsort((base, group[base]))]


def occurrence(base: np.ndarray) -> np.ndarray:
    """How often the same base patch came before, for rows in which equal ones stand together."""
    first = np.flatnonzero(np.append(True, base[1:] != base[:-1]))
    lengths = np.diff(np.append(first, len(base)))
    return np.asarray(np.arange(len(base)) - np.repeat(first, lengths))


def laboratory(seed: int, name: str, group: int) -> Recipe:
    """The numbers by which a pseudo-slide's patches were stained and scanned."""
    rng = np.random.default_rng([seed, ord(name[1]), 1, group])
    return draw_amounts(rng, STRENGTH) | draw_brightness(rng, STRENGTH - 1)


def variant(pixels: np.ndarray, recipe: Recipe, place: int, rng: np.random.Generator) -> np.ndarray:
    """A variant of a base patch: turned, rolled and stained; `place` is 0 … VARIANTS - 1."""
    turn, shift = divmod(place, SHIFTS**2)
    turned = np.rot90(pixels[:, ::-1] if turn >= 4 else pixels, turn % 4)
    down, right = divmod(shift, SHIFTS)
    rolled = np.roll(turned, (down - ROLL, right - ROLL), axis=(0, 1))
    log_factors = np.array(recipe["log_factors"])
    log_factors[:2] += rng.normal(0, THICKNESS, 2)
    stained = amounts(rolled[None], {"log_factors": list(log_factors)}, rng)
    return np.asarray(brightness(stained, recipe, rng)[0])


def header_of(base: Path) -> bytes:
    """What stands before the pixels in a file of the competition."""
    file = next(iter(sorted((base / "kaggle" / TRAIN).glob("*.tif"))))
    content = file.read_bytes()
    header = content[: len(content) - PIXEL_BYTES]
    if plain_tiff(content) is None or plain_tiff(header + bytes(PIXEL_BYTES)) is None:
        raise InputError(f"{file} is not a TIFF as the competition has them; restore it.")
    return header


def write_patch(file: Path, header: bytes, pixels: np.ndarray) -> None:
    file.write_bytes(header + pixels.tobytes())


def make_block(
    bases: Bases, base: np.ndarray, number: np.ndarray, folder: Path, header: bytes, seed: int
) -> pd.DataFrame:
    """Write the patches of some rows, and return their ids, labels and slides.

    `base` and `number` say for each row which base patch it is made of, and which variant it is.
    """
    table, lines = bases.table, []
    group, labels = table["group"].to_numpy(), table["label"].to_numpy()
    for own in np.split(np.arange(len(base)), np.flatnonzero(np.diff(base)) + 1):
        k = int(base[own[0]])
        pixels, recipe = bases.read(k), laboratory(seed, bases.name, int(group[k]))
        places = np.random.default_rng([seed, ord(bases.name[1]), 2, k]).permutation(VARIANTS)
        for v in number[own].tolist():
            rng = np.random.default_rng([seed, ord(bases.name[1]), 3, k, v])
            made = variant(pixels, recipe, int(places[v]), rng)
            patch_id = hashlib.sha1(made.tobytes(), usedforsecurity=False).hexdigest()
            write_patch(folder / f"{patch_id}.tif", header, made)
            lines.append((patch_id, int(labels[k]), bases.slide(int(group[k]))))
    return pd.DataFrame(lines, columns=["id", "label", "slide"])


@dataclass
class Clock:
    """Says how far the work is, and how long it still takes."""

    total: int
    done: int = 0
    made: int = 0
    began: float = 0.0
    said: float = 0.0

    def advance(self, rows: int, *, made: bool) -> None:
        now = time.monotonic()
        self.done += rows
        self.made += rows if made else 0
        if made and (now - self.said > SAID_EVERY or self.done == self.total):
            left = (self.total - self.done) * (now - self.began) / self.made
            say(f"{self.done:,} of {self.total:,} patches; {left / 60:.1f} min left")
            self.said = now


def spans(rows: int) -> Iterator[slice]:
    """The rows of each block."""
    for start in range(0, rows, BLOCK):
        yield slice(start, min(start + BLOCK, rows))


def make_split(
    bases: Bases, rows: int, out: Path, header: bytes, seed: int, clock: Clock
) -> pd.DataFrame:
    """Write all patches of a split, except blocks that are recorded; returns id, label and slide."""
    folder, steps = out / bases.name, out / STEPS
    folder.mkdir(exist_ok=True)
    base = dealt(bases, rows, seed)
    number, tables = occurrence(base), []
    for k, own in enumerate(spans(rows)):
        record = steps / f"{bases.name}-{k:05d}.csv"
        there = record.exists()
        if not there:
            made = make_block(bases, base[own], number[own], folder, header, seed)
            with whole_file(record) as temporary:
                made.to_csv(temporary, index=False)
        tables.append(pd.read_csv(record))
        clock.advance(len(tables[-1]), made=not there)
    return pd.concat(tables, ignore_index=True)


def write_tables(out: Path, tables: dict[str, pd.DataFrame], seed: int) -> None:
    """Write the competition's tables, the slides, and the labels of the test patches."""
    ids = pd.concat([table["id"] for table in tables.values()])
    if ids.duplicated().any():
        raise PcamError(
            f"{int(ids.duplicated().sum()):,} patches have the pixels of another; use another --seed."
        )
    rng = np.random.default_rng([seed, 4])
    shuffled = {name: table.iloc[rng.permutation(len(table))] for name, table in tables.items()}
    train, test = shuffled[TRAIN], shuffled[TEST]
    files = {
        LABELS: train[["id", "label"]],
        SAMPLE: test[["id", "label"]].assign(label=0),
        TEST_LABELS: test[["id", "label"]],
        BESIDE: pd.concat([train, test])[["id", "slide"]],
    }
    for name, table in files.items():
        with whole_file(out / name) as temporary:
            table.to_csv(temporary, index=False)


def make(base: Path, out: Path, *, patches: int, seed: int, threads: int) -> None:
    """Make the data set in the folder `out`, which becomes that name when it is complete."""
    if not (base / "pcam").is_dir() or not (base / "kaggle").is_dir():
        raise InputError(f"{base} has no folders pcam and kaggle of real patches; give --base.")
    test = max(2, round(patches * ROWS[TEST] / sum(ROWS.values())))
    rows = {TRAIN: patches - test, TEST: test}
    needed = patches * FILE_BYTES
    plan = {"plan_version": 1, "seed": seed, "patches": patches, "base": str(base.resolve())}
    with in_the_making(
        out, plan, overwrite=False, what="data set", mark=BESIDE, key="plan_version"
    ) as work:
        (work / STEPS).mkdir(exist_ok=True)
        there = sum(BLOCK * FILE_BYTES for _ in (work / STEPS).glob("t*.csv"))
        free = shutil.disk_usage(work).free
        say(f"{patches:,} patches take {readable(needed)}; {readable(free)} of the disk are free")
        if needed - there > free:
            raise InputError(f"the disk of {out} lacks space; free some, or give fewer --patches.")
        bases, header = all_bases(base, work / STEPS, threads), header_of(base)
        clock = Clock(patches, began=time.monotonic())
        tables = {name: make_split(bases[name], rows[name], work, header, seed, clock) for name in rows}
        write_tables(work, tables, seed)
    slides = sum(table["slide"].nunique() for table in tables.values())
    say(f"{out}: {patches:,} patches of {slides:,} pseudo-slides")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--patches", type=int, default=sum(ROWS.values()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="to measure base patches; 0: all cores")
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    parser.add_argument("--base", type=Path, default=default, help="folder of real patches")
    given = parser.parse_args()
    if given.patches < 10:
        parser.error("--patches must be at least 10")
    began, load = time.monotonic(), os.getloadavg()[0]
    try:
        make(given.base, given.out, patches=given.patches, seed=given.seed, threads=given.threads)
    except InputError as error:
        parser.error(str(error))
    except PcamError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        say("stopped; run the same command again to continue")
        sys.exit(130)
    used = time.process_time()
    say(f"{time.monotonic() - began:.0f} s, {used:.0f} s of processor, load before {load:.1f}")


if __name__ == "__main__":
    main()
