"""Writing synthetic patches to disk in Kaggle's layout, with slides and test labels.

train/<id>.tif   test/<id>.tif   train_labels.csv   sample_submission.csv
slides.csv       id,slide of all patches
test_labels.csv  id,label of the test patches
contact_sheet.png
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from .. import __version__
from ..sources import kaggle, synthetic
from ..sources.slides import BESIDE
from ..storage.files import write_json
from ..storage.folders import whole_folder

TEST_LABELS = "test_labels.csv"
SHEET = "contact_sheet.png"
MARK = "synthetic.json"  # records how the folder was made, and marks it as replaceable
SHEET_COLUMNS, SHEET_ROWS = 16, 4  # of each class


def synthesize(
    folder: Path,
    patches: int,
    slides: int,
    seed: int,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, int]:
    """Write a data set. The same arguments give the same bytes.

    Parameters
    ----------
    folder
        The folder to create.
    patches, slides
        Numbers of training patches and slides. The test split has a quarter as many patches, from half
        as many other slides.
    seed
        Random seed.
    overwrite
        Whether an earlier data set in `folder` may be replaced.
    progress
        Called with the number of patches that were just written.

    Returns
    -------
    dict of str to int
        The number of patches of each split.

    Raises
    ------
    InputError
        If the numbers are invalid, or if the folder exists.

    Examples
    --------
    >>> synthesize(Path("synthetic"), patches=8, slides=2, seed=0)
    {'train': 8, 'test': 2}
    >>> len(list(Path("synthetic/train").iterdir()))
    8
    """
    synthetic.check_size(patches, slides)
    sizes = {"train": (patches, slides), "test": synthetic.test_share(patches, slides)}
    with whole_folder(folder, overwrite=overwrite, what="folder", mark=MARK, key="patches") as made:
        tables = {
            name: _write_split(made, name, *sizes[name], seed, progress) for name in synthetic.SPLITS
        }
        both = pd.concat(tables.values())
        both[["id", "slide"]].to_csv(made / BESIDE, index=False)
        tables["train"][["id", "label"]].to_csv(made / kaggle.LABELS, index=False)
        tables["test"][["id", "label"]].to_csv(made / TEST_LABELS, index=False)
        tables["test"][["id"]].assign(label=0).to_csv(made / kaggle.SAMPLE, index=False)
        recipe = {"patches": patches, "slides": slides, "seed": seed, "pcam_version": __version__}
        write_json(made / MARK, recipe)
        contact_sheet(made / "train", tables["train"]).save(made / SHEET)
    return {name: count for name, (count, _) in sizes.items()}


def _write_split(
    folder: Path, name: str, patches: int, slides: int, seed: int, progress: Callable[[int], None]
) -> pd.DataFrame:
    (folder / name).mkdir()
    split = synthetic.SPLITS.index(name)
    made, which = synthetic.make_split(split, patches, slides, seed)
    rows = []
    for k, slide in enumerate(which):
        pixels, label = synthetic.render(made[slide], seed, split, k)
        patch_id = hashlib.sha1(pixels.tobytes(), usedforsecurity=False).hexdigest()
        Image.fromarray(pixels).save(folder / name / f"{patch_id}.tif", compression=None)
        rows.append((patch_id, label, made[slide].name))
        progress(1)
    return pd.DataFrame(rows, columns=["id", "label", "slide"])


def contact_sheet(folder: Path, table: pd.DataFrame) -> Image.Image:
    """A picture of patches: negatives in the upper half, positives in the lower half."""
    bands = []
    for label in (0, 1):
        ids = table.loc[table["label"] == label, "id"].head(SHEET_COLUMNS * SHEET_ROWS)
        cells = np.full((SHEET_ROWS * SHEET_COLUMNS, 98, 98, 3), 255, np.uint8)
        for cell, patch_id in zip(cells, ids, strict=False):
            with Image.open(folder / f"{patch_id}.tif") as image:
                cell[1:97, 1:97] = np.asarray(image)
        grid = cells.reshape(SHEET_ROWS, SHEET_COLUMNS, 98, 98, 3).transpose(0, 2, 1, 3, 4)
        bands.append(grid.reshape(SHEET_ROWS * 98, SHEET_COLUMNS * 98, 3))
    gap = np.zeros((6, SHEET_COLUMNS * 98, 3), np.uint8)
    return Image.fromarray(np.concatenate([bands[0], gap, bands[1]]))
