"""Features of images in memory are those of the store, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pcam_features.encoders.options import EncoderOptions
from pcam_features.engine import cpu
from pcam_features.errors import InputError
from pcam_features.extraction.extract import extract
from pcam_features.extraction.selection import families_named
from pcam_features.extraction.transformer import embed, measure
from pcam_features.families.registry import FAMILIES
from pcam_features.sources.detect import open_source
from pcam_features.store.store import open_store

FEW = "color,lbp,nuclei"
SMALL = EncoderOptions(depths=("block02", "head"))
HEAD = EncoderOptions(depths=("head",))


def stored(store: Path, split: str, families: list[str]) -> pd.DataFrame:
    """A store's Parquet, read by pandas alone."""
    tables = [pd.read_parquet(store / split / name).set_index("id") for name in families]
    return pd.concat(tables, axis=1)


def test_parity_500_real_patches_equal_the_store_to_the_bit(
    kaggle_folder: Path, tmp_path: Path
) -> None:
    source, _ = open_source(str(kaggle_folder), slides="none")
    train = source.splits["train"]
    extract(tmp_path / "f", source, [train], families_named(None), cpu, threads=2)
    table = stored(tmp_path / "f", "train", list(FAMILIES)).iloc[:500]
    values, columns = measure(train.read(0, 500), device="cpu", threads=2)
    assert columns == list(table.columns)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, table.to_numpy())
    assert values.shape == (500, 4736)


def test_parity_synthetic_patches_equal_the_store(store_folder: Path, synthetic_folder: Path) -> None:
    source, _ = open_source(str(synthetic_folder))
    values, columns = measure(source.splits["test"], device="cpu")
    table = stored(store_folder, "test", list(FAMILIES))
    assert columns == list(table.columns)
    np.testing.assert_array_equal(values, table.to_numpy())


def test_invariant_a_batch_of_one_is_as_a_batch_of_many(batch: np.ndarray) -> None:
    together, _ = measure(batch, device="cpu")
    alone = [measure(patch, device="cpu", threads=1)[0] for patch in batch]
    np.testing.assert_array_equal(np.concatenate(alone), together)
    for threads in (1, 3, 7):
        np.testing.assert_array_equal(measure(batch, device="cpu", threads=threads)[0], together)


def test_invariant_embeddings_do_not_depend_on_the_batch(synthetic_batch: np.ndarray) -> None:
    together, columns = embed(synthetic_batch, SMALL, threads=2)
    assert together.shape == (24, len(columns))
    for k in (0, 3, 23):
        alone, _ = embed(synthetic_batch[k], SMALL, threads=2)
        np.testing.assert_array_equal(alone[0], together[k])
    some, _ = embed(synthetic_batch[5:18], SMALL, threads=1)
    np.testing.assert_array_equal(some, together[5:18])


def test_parity_embeddings_equal_the_store(synthetic_folder: Path, tmp_path: Path) -> None:
    source, _ = open_source(str(synthetic_folder))
    split = source.splits["test"]
    families = families_named("lbp,cnn")
    extract(tmp_path / "f", source, [split], families, cpu, threads=2)
    values, columns = embed(split, threads=2)
    table = stored(tmp_path / "f", "test", [families[1].name])
    assert columns == list(table.columns)
    np.testing.assert_array_equal(values, table.to_numpy())
    np.testing.assert_array_equal(open_store(tmp_path / "f").features("test", families[1].name), values)


def test_invariant_many_threads_may_measure_at_once(synthetic_batch: np.ndarray) -> None:
    expected, _ = measure(synthetic_batch, FEW, device="cpu")
    network, _ = embed(synthetic_batch[:8], HEAD, threads=2)

    def call(k: int) -> bool:
        if k % 4 == 3:
            return np.array_equal(embed(synthetic_batch[:8], HEAD, threads=2)[0], network)
        return np.array_equal(measure(synthetic_batch, FEW, device="cpu", threads=2)[0], expected)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(32)))


def test_mechanics_every_form_of_image_is_read(synthetic_batch: np.ndarray, tmp_path: Path) -> None:
    pixels = synthetic_batch[:4]
    paths = [tmp_path / f"{k}.png" for k in range(4)]
    for path, patch in zip(paths, pixels, strict=True):
        Image.fromarray(patch).save(path)
    expected, _ = measure(pixels, "color", device="cpu")
    opaque = [Image.fromarray(patch).convert("RGBA") for patch in pixels]
    objects = np.empty(4, object)
    objects[:] = paths
    forms: list[Any] = [
        list(pixels),
        tuple(Image.fromarray(patch) for patch in pixels),
        opaque,
        paths,
        [str(path) for path in paths],
        pd.Series(paths),
        objects,
        iter(paths),
        [pixels[0], paths[1], opaque[2], str(paths[3])],
        np.asfortranarray(pixels),
        np.repeat(pixels, 2, axis=0)[::2],
    ]
    for form in forms:
        np.testing.assert_array_equal(measure(form, "color", device="cpu")[0], expected)
    for one in (pixels[2], opaque[2], paths[2], str(paths[2])):
        np.testing.assert_array_equal(measure(one, "color", device="cpu")[0], expected[2:3])
    assert measure(pixels[:0], "color", device="cpu")[0].shape == (0, expected.shape[1])


SHAPE_CASES: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "floats": (lambda a: a / 255, r"not float64; convert .* after multiplying by 255"),
    "integers": (lambda a: a.astype(int), r"not int64; convert levels of 0 to 255"),
    "channels first": (lambda a: np.moveaxis(a, 3, 1), r"channels last, .*np\.moveaxis"),
    "50 pixels": (lambda a: a[:, :50, :50], "the size of images is 50×50 pixels.* --fit"),
    "gray": (lambda a: a[..., 0], r"shape \(1, 2, 96, 96\)"),
    "two channels": (lambda a: a[..., :2], r"shape \(2, 96, 96, 2\)"),
    "list of batches": (lambda a: [a, a], r"image 0 must be uint8 .*, not of shape \(2, 96, 96, 3\)"),
    "numbers": (lambda a: [1, 2], "image 0 must be an array, a PIL image or a path, not int"),
    "a number": (lambda a: 7, "not int"),
    "CMYK PIL": (lambda a: [Image.fromarray(a[0]).convert("CMYK")], "image 0 is a CMYK image"),
    "small PIL": (lambda a: [Image.fromarray(a[0, :50, :50])], "the size of image 0 is 50×50"),
    "no file": (lambda a: ["nowhere.png"], r"nowhere\.png cannot be read"),
}


@pytest.mark.parametrize("case", SHAPE_CASES)
def test_mechanics_what_is_no_patch_is_refused(case: str, synthetic_batch: np.ndarray) -> None:
    change, message = SHAPE_CASES[case]
    with pytest.raises(InputError, match=message):
        measure(change(synthetic_batch[:2]), "color", device="cpu")


def test_mechanics_unknown_names_and_devices_are_refused(synthetic_batch: np.ndarray) -> None:
    with pytest.raises(InputError, match="there is no family colour"):
        measure(synthetic_batch, "colour")
    with pytest.raises(InputError, match="no encoder 'efficientnet'"):
        embed(synthetic_batch, EncoderOptions("efficientnet"))
    with pytest.raises(InputError, match="no device 'gpu'"):
        measure(synthetic_batch, "color", device="gpu")


def test_mechanics_progress_is_told_of_every_image(synthetic_batch: np.ndarray) -> None:
    told: list[int] = []
    measure(synthetic_batch, "color", device="cpu", threads=2, progress=told.append)
    assert told[0] == 0
    assert sum(told) == len(synthetic_batch)
