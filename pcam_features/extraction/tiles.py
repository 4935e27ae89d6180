"""Features of patches that are cut into tiles: the mean over the tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..families.measuring import Measure
from ..sources.source import Split


def measure_tiles(
    split: Split, span: tuple[int, int], measure: Measure, names: Sequence[str], rows: int
) -> dict[str, np.ndarray]:
    """Measure all tiles of some patches and average them in float64.

    Parameters
    ----------
    split
        A split with tiles.
    span
        The first row, and the row after the last.
    measure
        Measures uint8 (n, 96, 96, 3) and returns float32 (n, columns) for each family.
    names
        The families to measure.
    rows
        How many tiles are measured at a time, which bounds memory.

    Returns
    -------
    dict of str to numpy.ndarray
        float32 (patches, columns) for each family.
    """
    assert split.tiles is not None
    means: dict[str, list[np.ndarray]] = {name: [] for name in names}
    patches = max(1, rows // split.tile_count)
    for start in range(span[0], span[1], patches):
        tiles = split.tiles(start, min(start + patches, span[1]))
        flat = tiles.reshape(-1, *tiles.shape[2:])
        parts = [measure(flat[k : k + rows], names) for k in range(0, len(flat), rows)]
        for name in names:
            values = np.concatenate([part[name] for part in parts])
            for of_patch in values.reshape(len(tiles), split.tile_count, -1):
                means[name].append(of_patch.mean(axis=0, dtype=np.float64).astype(np.float32))
    return {name: np.stack(vectors) for name, vectors in means.items()}
