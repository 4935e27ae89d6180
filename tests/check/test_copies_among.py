"""Near-duplicates of known patches are found however they were turned or compressed, and no others."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcam_features.check import duplicates
from pcam_features.check.duplicates import copies_among
from pcam_features.check.look import gray_of, thumbnails
from pcam_features.sources import kaggle, synthetic


def small_of(patches: np.ndarray) -> np.ndarray:
    return thumbnails(gray_of(patches))


def turned(patches: np.ndarray, seed: int = 0) -> np.ndarray:
    """Each patch in another of the eight positions, never its own."""
    rng = np.random.default_rng(seed)
    positions = [(k, flip) for k in range(4) for flip in (False, True)][1:]
    chosen = [positions[k] for k in rng.integers(0, len(positions), len(patches))]
    moved = [
        np.rot90(patch, k)[:, ::-1] if flip else np.rot90(patch, k)
        for patch, (k, flip) in zip(patches, chosen, strict=True)
    ]
    return np.ascontiguousarray(np.stack(moved))


def as_jpeg(patches: np.ndarray, quality: int) -> np.ndarray:
    again = []
    for patch in patches:
        file = io.BytesIO()
        Image.fromarray(patch).save(file, "JPEG", quality=quality)
        again.append(np.asarray(Image.open(file)))
    return np.stack(again)


def drawn(rows: int, seed: int) -> np.ndarray:
    patches = synthetic.open_source(f"synthetic:{rows}:12:{seed}").splits["train"].read(0, rows)
    return np.asarray(patches)


@pytest.mark.parametrize("quality", [None, 95, 75, 50])
def test_regression_turned_and_compressed_copies_are_found_and_no_others(quality: int | None) -> None:
    known, new = drawn(160, 1), drawn(80, 2)
    copies = turned(known[40:120])
    if quality is not None:
        copies = as_jpeg(copies, quality)
    found = copies_among(small_of(np.concatenate([new, copies])), small_of(known))
    assert found is not None
    assert not found[:80].any()
    assert found[80:].mean() > 0.97


def test_oracle_real_patches_and_their_copies(kaggle_folder: Path) -> None:
    patches = kaggle.open_source(kaggle_folder).splits["train"].read(0, 400)
    known, new = small_of(patches[:300]), patches[300:]
    copies = small_of(as_jpeg(turned(patches[100:300]), 75))
    found = copies_among(np.concatenate([small_of(new), copies]), known)
    assert found is not None
    assert not found[:100].any()
    assert found[100:].mean() > 0.97


def test_mechanics_patches_that_show_nothing_are_no_copies(
    degenerate_batch: np.ndarray, synthetic_batch: np.ndarray
) -> None:
    glass = np.full((3, 8, 8), 240, np.uint8)
    assert copies_among(glass, glass).tolist() == [False] * 3  # type: ignore[union-attr]
    known = small_of(synthetic_batch)
    assert copies_among(known[:0], known).tolist() == []  # type: ignore[union-attr]
    assert not copies_among(known, known[:0]).any()  # type: ignore[union-attr]
    assert copies_among(known, known).all()  # type: ignore[union-attr]
    assert not copies_among(small_of(degenerate_batch), known).any()  # type: ignore[union-attr]


def test_mechanics_too_many_pairs_are_not_looked_at(
    synthetic_batch: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = small_of(synthetic_batch)
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 3)
    assert copies_among(small, small) is None
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 10_000)
    monkeypatch.setattr(duplicates, "QUERIES", 5)
    assert copies_among(small, small).all()  # type: ignore[union-attr]
