"""Run-length features equal their printed formulas, on runs found by walking every line."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from planes_of import features_of, planes_of

from pcam_features.engine import cpu
from pcam_features.families.glrlm import FAMILY, MEASURED, NAMES
from pcam_features.families.planes import PLANES
from pcam_features.geometry import CENTER, PATCH_SIZE, REGIONS

INDICES = np.arange(PATCH_SIZE**2).reshape(PATCH_SIZE, PATCH_SIZE)
OFFSETS = range(1 - PATCH_SIZE, PATCH_SIZE)
LINES = (
    list(INDICES),
    [np.diagonal(INDICES, k) for k in OFFSETS],
    list(INDICES.T),
    [np.diagonal(INDICES[:, ::-1], k) for k in OFFSETS],
)


def region_mask(region: str) -> np.ndarray:
    inside = np.zeros((PATCH_SIZE, PATCH_SIZE), bool)
    inside[slice(*CENTER), slice(*CENTER)] = True
    return {"patch": np.ones_like(inside), "center": inside, "ring": ~inside}[region]


def runs_by_hand(levels: np.ndarray, region: str, direction: int) -> list[tuple[int, int]]:
    """(level, length) of each run, pixel by pixel along each line."""
    allowed = region_mask(region).ravel()
    flat = levels.ravel()
    runs = []
    for line in LINES[direction]:
        for (inside, level), run in groupby(line, key=lambda k: (allowed[k], int(flat[k]))):
            if inside:
                runs.append((level + 1, len(list(run))))
    return runs


def by_formula(runs: list[tuple[int, int]], pixels: int) -> dict[str, float]:
    """Every feature as its formula is printed, over the cells of p(i, l)."""
    cells = Counter(runs)
    p = np.array(list(cells.values())) / len(runs)
    i, length = np.array(list(cells), float).T
    of_level = np.array([p[i == level].sum() for level in set(i)])
    of_length = np.array([p[length == one].sum() for one in set(length)])
    return {
        "short_runs": (p / length**2).sum(),
        "long_runs": (p * length**2).sum(),
        "level_nonuniformity": (of_level**2).sum(),
        "length_nonuniformity": (of_length**2).sum(),
        "run_share": len(runs) / pixels,
        "low_levels": (p / i**2).sum(),
        "high_levels": (p * i**2).sum(),
        "short_low": (p / (i**2 * length**2)).sum(),
        "short_high": (p * i**2 / length**2).sum(),
        "long_low": (p * length**2 / i**2).sum(),
        "long_high": (p * i**2 * length**2).sum(),
        "level_variance": (p * (i - (p * i).sum()) ** 2).sum(),
        "length_variance": (p * (length - (p * length).sum()) ** 2).sum(),
        "entropy": -(p * np.log2(p)).sum(),
    }


def by_hand(levels: np.ndarray, plane: str) -> dict[str, float]:
    """Every column of one plane."""
    found = {}
    for region in REGIONS:
        pixels = int(region_mask(region).sum())
        each = [by_formula(runs_by_hand(levels, region, d), pixels) for d in range(4)]
        for name in NAMES:
            values = np.array([one[name] for one in each])
            found[f"glrlm__{name}__{region}_{plane}_mean"] = values.mean()
            found[f"glrlm__{name}__{region}_{plane}_range"] = np.ptp(values)
    return found


@pytest.mark.parametrize("source", ["real_batch", "degenerate_batch"])
def test_oracle_every_column_by_brute_force(source: str, request: pytest.FixtureRequest) -> None:
    batch = request.getfixturevalue(source)
    batch = batch[:2] if source == "real_batch" else batch
    mine = features_of(batch, "glrlm")
    checked = set()
    for plane in MEASURED:
        for k, levels in enumerate(planes_of(batch)[:, PLANES.index(plane)] >> 4):
            for column, value in by_hand(levels, plane).items():
                np.testing.assert_allclose(mine[column][k], value, rtol=2e-6, atol=1e-6, err_msg=column)
                checked.add(column)
    assert checked == set(FAMILY.columns)


# Blocks of few levels: long runs that enter and leave the center in every way.
@settings(max_examples=15, deadline=None)
@given(arrays(np.uint8, (12, 12), elements=st.sampled_from([0, 15, 16, 255])))
def test_oracle_blocks_by_brute_force(blocks: np.ndarray) -> None:
    planes = np.zeros((1, len(PLANES), PATCH_SIZE, PATCH_SIZE), np.uint8)
    planes[0, PLANES.index("gray")] = np.kron(blocks, np.ones((8, 8), np.uint8))
    values = cpu.prepare(FAMILY.kernel)(planes)[0]
    mine = dict(zip(FAMILY.columns, values, strict=True))
    for column, value in by_hand(planes[0, PLANES.index("gray")] >> 4, "gray").items():
        np.testing.assert_allclose(mine[column], value, rtol=2e-6, atol=1e-6, err_msg=column)


def test_oracle_constant_patch_is_its_lines() -> None:
    """Of a constant patch every line is a run: 96 of 96 pixels, or 191 diagonals."""
    mine = features_of(np.full((1, 96, 96, 3), 77, np.uint8), "glrlm")  # level 4, from 0
    diagonals = np.array([96 - abs(k) for k in OFFSETS], float)
    straight, diagonal = 96.0**2, (diagonals**2).mean()
    where = "patch_gray"
    assert mine[f"glrlm__long_runs__{where}_mean"][0] == np.float32((straight + diagonal) / 2)
    assert mine[f"glrlm__long_runs__{where}_range"][0] == np.float32(straight - diagonal)
    assert mine[f"glrlm__high_levels__{where}_mean"][0] == 25
    assert mine[f"glrlm__level_nonuniformity__{where}_mean"][0] == 1
    assert mine[f"glrlm__level_variance__{where}_range"][0] == 0
    assert mine[f"glrlm__run_share__{where}_mean"][0] == np.float32((96 + 191) / 2 / 96**2)
    assert mine["glrlm__run_share__center_gray_mean"][0] == np.float32((32 + 63) / 2 / 32**2)
