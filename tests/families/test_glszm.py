"""Size-zone features equal their printed formulas, on zones that SciPy labels level by level."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planes_of import features_of, planes_of
from scipy import ndimage

from pcam_features.engine import cpu
from pcam_features.engine.kernel import WORDS, bind
from pcam_features.families.glszm import (
    FAMILY,
    LEVEL,
    LEVEL_BITS,
    LEVELS,
    LINK,
    MEASURED,
    SIZE,
    SMALL,
    WIDTH,
    fill_levels,
    find_zones,
)
from pcam_features.families.planes import PLANES
from pcam_features.geometry import CENTER, PATCH_SIZE, REGIONS


def region_mask(region: str) -> np.ndarray:
    inside = np.zeros((PATCH_SIZE, PATCH_SIZE), bool)
    inside[slice(*CENTER), slice(*CENTER)] = True
    return {"patch": np.ones_like(inside), "center": inside, "ring": ~inside}[region]


def zones_by_hand(levels: np.ndarray, region: str) -> list[tuple[int, int]]:
    """(level, size) of each zone."""
    allowed = region_mask(region)
    zones = []
    for level in range(LEVELS):
        labels, n = ndimage.label((levels == level) & allowed, structure=np.ones((3, 3)))
        zones += [(level + 1, int(size)) for size in np.bincount(labels.ravel())[1 : n + 1]]
    return zones


def by_formula(zones: list[tuple[int, int]], pixels: int) -> dict[str, float]:
    """Every feature as its formula is printed, over the cells of p(i, s)."""
    cells = Counter(zones)
    p = np.array(list(cells.values())) / len(zones)
    i, s = np.array(list(cells), float).T
    of_level = np.array([p[i == level].sum() for level in set(i)])
    of_size = np.array([p[s == size].sum() for size in set(s)])
    return {
        "small_zones": (p / s**2).sum(),
        "large_zones": (p * s**2).sum(),
        "level_nonuniformity": (of_level**2).sum(),
        "size_nonuniformity": (of_size**2).sum(),
        "zone_share": len(zones) / pixels,
        "low_levels": (p / i**2).sum(),
        "high_levels": (p * i**2).sum(),
        "small_low": (p / (i**2 * s**2)).sum(),
        "small_high": (p * i**2 / s**2).sum(),
        "large_low": (p * s**2 / i**2).sum(),
        "large_high": (p * i**2 * s**2).sum(),
        "level_variance": (p * (i - (p * i).sum()) ** 2).sum(),
        "size_variance": (p * (s - (p * s).sum()) ** 2).sum(),
        "entropy": -(p * np.log2(p)).sum(),
    }


def assert_as_by_hand(mine: dict[str, np.float32], levels: np.ndarray, plane: str) -> set[str]:
    """Hold every column of one plane to its formula; returns the columns held."""
    held = set()
    for region in REGIONS:
        expected = by_formula(zones_by_hand(levels, region), int(region_mask(region).sum()))
        for name, value in expected.items():
            column = f"glszm__{name}__{region}_{plane}"
            np.testing.assert_allclose(mine[column], value, rtol=2e-6, atol=1e-6, err_msg=column)
            held.add(column)
    return held


def test_oracle_every_column_by_formula(batch: np.ndarray) -> None:
    mine = features_of(batch, "glszm")
    held = set()
    for plane in MEASURED:
        for k, pixels in enumerate(planes_of(batch)[:, PLANES.index(plane)]):
            one = {column: values[k] for column, values in mine.items()}
            held |= assert_as_by_hand(one, pixels >> (8 - LEVEL_BITS), plane)
    assert held == set(FAMILY.columns)


def of_gray(plane: np.ndarray) -> dict[str, np.float32]:
    planes = np.zeros((1, len(PLANES), PATCH_SIZE, PATCH_SIZE), np.uint8)
    planes[0, PLANES.index("gray")] = plane
    return dict(zip(FAMILY.columns, cpu.prepare(FAMILY.kernel)(planes)[0], strict=True))


# Coarse and fine, of few levels: zones that wind, meet late, cross the center's edge many times.
@settings(max_examples=40, deadline=None)
@given(st.sampled_from([1, 2, 8]), st.sampled_from([2, 3, 8]), st.integers(0, 2**32 - 1))
def test_oracle_blocks_by_formula(block: int, levels: int, seed: int) -> None:
    side = PATCH_SIZE // block
    coarse = np.random.default_rng(seed).integers(0, levels, (side, side), np.uint8)
    plane = np.kron(coarse << (8 - LEVEL_BITS), np.ones((block, block), np.uint8))
    assert_as_by_hand(of_gray(plane), plane >> (8 - LEVEL_BITS), "gray")


def spiral() -> np.ndarray:
    """A line one pixel wide that winds inward, one pixel from itself: a single zone."""
    plane = np.zeros((PATCH_SIZE, PATCH_SIZE), np.uint8)
    for low in range(0, PATCH_SIZE // 2, 2):
        high = PATCH_SIZE - 1 - low
        plane[low, max(low - 2, 0) : high] = 255
        plane[low:high, high] = plane[high, low : high + 1] = plane[low + 2 : high, low] = 255
    return plane


def same_size_squares() -> np.ndarray:
    """Squares of 8 x 8 on a lattice: more than SMALL pixels each, all of one size, in two levels."""
    plane = np.zeros((PATCH_SIZE, PATCH_SIZE), np.uint8)
    for k, y in enumerate(range(2, PATCH_SIZE - 8, 10)):
        for j, x in enumerate(range(2, PATCH_SIZE - 8, 10)):
            plane[y : y + 8, x : x + 8] = 255 if (k + j) % 2 else 100
    return plane


@pytest.mark.parametrize("shape", [spiral, same_size_squares])
def test_oracle_shapes_by_formula(shape: Callable[[], np.ndarray]) -> None:
    for plane in (shape(), shape().T, shape()[::-1]):
        assert_as_by_hand(of_gray(plane), plane >> (8 - LEVEL_BITS), "gray")


def test_mechanics_shapes_are_what_they_say() -> None:
    line = int(np.count_nonzero(spiral()))
    assert line > PATCH_SIZE**2 // 3
    assert (LEVELS, line) in zones_by_hand(spiral() >> (8 - LEVEL_BITS), "patch")
    zones = Counter(zones_by_hand(same_size_squares() >> (8 - LEVEL_BITS), "patch"))
    assert zones[LEVELS, 64] > 1
    assert zones[100 // 32 + 1, 64] > 1
    assert SMALL < 64


def on_threads(function: Callable[..., None], lanes: int) -> Callable[..., None]:
    """Kernel code run by as many lanes, a thread each."""
    here, gate, lock = threading.local(), threading.Barrier(lanes), threading.Lock()

    def lane() -> int:
        return int(here.lane)

    def add(array: np.ndarray, index: int, value: int) -> None:
        with lock:
            array[index] += value

    words = {"lane": lane, "lanes": lambda: lanes, "barrier": gate.wait, "add": add}
    bound = bind(function, {word: words[word.__name__] for word in WORDS}, lambda copy: copy)

    def as_lane(number: int, *arguments: object) -> None:
        here.lane = number
        bound(*arguments)

    def run(*arguments: object) -> None:
        with ThreadPoolExecutor(lanes) as pool:
            list(pool.map(lambda number: as_lane(number, *arguments), range(lanes)))

    return run


@pytest.mark.parametrize("lanes", [1, 2, 5, 32])
def test_oracle_strips_are_joined(lanes: int) -> None:
    """However many lanes share the rows, the zones are SciPy's."""
    noise = np.random.default_rng(3).integers(0, 3, (PATCH_SIZE, PATCH_SIZE), np.uint8)
    for plane in (spiral(), noise << (8 - LEVEL_BITS)):
        work = np.full(FAMILY.kernel.work, 7, np.int32)
        levels, links, sizes = work[LEVEL], work[LINK], work[SIZE]
        fill_levels(plane, levels)
        on_threads(find_zones, lanes)(levels, links, sizes)
        inner = sizes.reshape(WIDTH, WIDTH)[1:-1, 1:-1]
        for region in ("center", "ring"):
            expected = sorted(size for _, size in zones_by_hand(plane >> (8 - LEVEL_BITS), region))
            found = inner[region_mask(region)]
            assert sorted(found[found > 0]) == expected
