"""Run lengths with NumPy: the lines of an image are concatenated and cut where the level changes."""

from __future__ import annotations

import numpy as np

from ...families.glrlm import LEVEL_BITS, LEVELS, LONGEST, MEASURED
from ...geometry import CENTER, PATCH_SIZE

LIBRARY = "NumPy (no common library counts runs)"
TOLERANCE = {"rtol": 2e-6, "atol": 2e-6}
PLANES = MEASURED
LEVEL, LENGTH = np.arange(1, LEVELS + 1.0), np.arange(1, LONGEST + 1.0)


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    outside = np.ones((PATCH_SIZE, PATCH_SIZE), bool)
    outside[slice(*CENTER), slice(*CENTER)] = False
    for name, plane in planes.items():
        levels = (plane >> (8 - LEVEL_BITS)) + 1  # 0 marks pixels outside the region
        center = levels[slice(*CENTER), slice(*CENTER)]
        for region, image in (("patch", levels), ("center", center), ("ring", levels * outside)):
            directions = [described(line) for line in lines(image)]
            for feature in directions[0]:
                values = np.array([direction[feature] for direction in directions])
                result[f"glrlm__{feature}__{region}_{name}_mean"] = values.mean()
                result[f"glrlm__{feature}__{region}_{name}_range"] = np.ptp(values)
    return result


def lines(image: np.ndarray) -> list[np.ndarray]:
    """The lines of an image in each of four directions, concatenated with a 0 between lines."""
    size = len(image)
    between = np.pad(image, ((0, 0), (0, 1)))
    turned = np.pad(image.T, ((0, 0), (0, 1)))
    # Rows of 2 size - 1 pixels, reshaped to rows of one more: the columns are then the diagonals.
    sheared = []
    for each in (image, image[:, ::-1]):
        wide = np.pad(each, ((0, 0), (0, size - 1))).ravel()
        room = np.pad(wide, (0, 2 * size * (size + 1) - wide.size))
        sheared.append(room.reshape(-1, 2 * size).T)
    return [each.ravel() for each in (between, turned, *sheared)]


def described(line: np.ndarray) -> dict[str, float]:
    starts = np.concatenate([[0], np.flatnonzero(np.diff(line)) + 1])
    lengths, levels = np.diff(starts, append=len(line)), line[starts]
    kept = levels > 0
    cells = (levels[kept] - 1).astype(np.intp) * LONGEST + lengths[kept] - 1
    p = np.bincount(cells, minlength=LEVELS * LONGEST).reshape(LEVELS, LONGEST) / kept.sum()
    of_level, of_length = p.sum(axis=1), p.sum(axis=0)
    i, length = LEVEL, LENGTH
    return {
        "short_runs": of_length @ length**-2,
        "long_runs": of_length @ length**2,
        "level_nonuniformity": of_level @ of_level,
        "length_nonuniformity": of_length @ of_length,
        "run_share": kept.sum() / lengths[kept].sum(),
        "low_levels": of_level @ i**-2,
        "high_levels": of_level @ i**2,
        "short_low": i**-2 @ p @ length**-2,
        "short_high": i**2 @ p @ length**-2,
        "long_low": i**-2 @ p @ length**2,
        "long_high": i**2 @ p @ length**2,
        "level_variance": of_level @ (i - of_level @ i) ** 2,
        "length_variance": of_length @ (length - of_length @ length) ** 2,
        "entropy": -(p[p > 0] @ np.log2(p[p > 0])),
    }
