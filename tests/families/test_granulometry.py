"""Pattern spectra equal the printed definitions, and discs vanish at their own radius."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planes_of import features_of, planes_of

from pcam_features.families.granulometry import (
    COMPARED,
    FAMILY,
    MEASURED,
    RADII,
    SIDES,
    SIZE,
    SQUARE,
    STEPS,
    SUMMARIES,
    _outside,
    describe,
    load,
    sieve,
)
from pcam_features.families.planes import PLANES
from pcam_features.geometry import CENTER, PATCH_SIZE, REGIONS


def disc(radius: int) -> list[tuple[int, int]]:
    """The octagon of that many steps: a square step reaches the corners of its square, a cross
    step does not."""
    corners = radius + STEPS[:radius].count(SQUARE)
    around = range(-radius, radius + 1)
    return [(dy, dx) for dy in around for dx in around if abs(dy) + abs(dx) <= corners]


def opened(image: np.ndarray, radius: int) -> np.ndarray:
    """The highest of the lowest values under each disc that covers a pixel, inside the patch."""
    for pad, choose in ((255, np.minimum), (0, np.maximum)):
        wide = np.pad(image, radius, constant_values=pad)
        image = choose.reduce(
            [
                wide[radius + dy : radius + dy + PATCH_SIZE, radius + dx : radius + dx + PATCH_SIZE]
                for dy, dx in disc(radius)
            ]
        )
    return image


def volumes_by_hand(image: np.ndarray) -> np.ndarray:
    inside = np.zeros(image.shape, bool)
    inside[slice(*CENTER), slice(*CENTER)] = True
    masks = {"patch": np.ones_like(inside), "center": inside, "ring": ~inside}
    images = [image, *(opened(image, radius) for radius in RADII)]
    return np.array([[int(each[masks[r]].sum()) for r in REGIONS] for each in images])


def by_formula(volumes: np.ndarray, pixels: int) -> list[float]:
    """Loss, mean radius, deviation, entropy and the shares."""
    v = volumes[:-1] - volumes[1:]
    lost = int(v.sum())
    if lost == 0:
        return [0.0] * (len(SUMMARIES) + len(RADII))
    p = v / lost
    size = sum(r * share for r, share in zip(RADII, p, strict=True))
    variance = sum((r - size) ** 2 * share for r, share in zip(RADII, p, strict=True))
    entropy = -sum(x * np.log2(x) for x in p if x > 0)
    return [lost / pixels, size, variance**0.5, entropy, *p]


def names(side: str, where: str) -> list[str]:
    shares = [f"granulometry__{side}_share__{where}_r{r}" for r in RADII]
    return [*(f"granulometry__{side}_{name}__{where}" for name in SUMMARIES), *shares]


@pytest.mark.parametrize("source", ["real_batch", "degenerate_batch"])
def test_oracle_every_column_by_brute_force(source: str, request: pytest.FixtureRequest) -> None:
    batch = np.ascontiguousarray(request.getfixturevalue(source)[:8:2])
    mine = features_of(batch, "granulometry")
    checked = set()
    inner = (CENTER[1] - CENTER[0]) ** 2
    pixels = {"patch": PATCH_SIZE**2, "center": inner, "ring": PATCH_SIZE**2 - inner}
    for plane in MEASURED:
        for k, image in enumerate(planes_of(batch)[:, PLANES.index(plane)]):
            for side in SIDES:
                volumes = volumes_by_hand(image if side == "opening" else 255 - image)
                each = {}
                for n, region in enumerate(REGIONS):
                    each[region] = by_formula(volumes[:, n], pixels[region])
                    for column, value in zip(
                        names(side, f"{region}_{plane}"), each[region], strict=True
                    ):
                        np.testing.assert_allclose(
                            mine[column][k], value, rtol=1e-6, atol=1e-6, err_msg=column
                        )
                        checked.add(column)
                for f, name in enumerate(COMPARED):
                    column = f"granulometry__{side}_{name}__center_minus_ring_{plane}"
                    difference = each["center"][f] - each["ring"][f]
                    np.testing.assert_allclose(mine[column][k], difference, rtol=1e-5, atol=1e-5)
                    checked.add(column)
    assert checked == set(FAMILY.columns)


@pytest.mark.parametrize("radius", range(RADII[-1]))
@pytest.mark.parametrize(("side", "background", "level"), [("opening", 60, 200), ("closing", 200, 60)])
def test_oracle_a_disc_goes_at_the_next_radius(
    radius: int, side: str, background: int, level: int
) -> None:
    patch = np.full((1, PATCH_SIZE, PATCH_SIZE, 3), background, np.uint8)
    for dy, dx in disc(radius):
        patch[0, 47 + dy, 50 + dx] = level
    mine = features_of(patch, "granulometry")
    following = min(r for r in RADII if r > radius)
    for region in ("patch", "center"):
        assert mine[f"granulometry__{side}_share__{region}_gray_r{following}"][0] == 1
        assert mine[f"granulometry__{side}_size__{region}_gray"][0] == following
        assert mine[f"granulometry__{side}_deviation__{region}_gray"][0] == 0
        assert mine[f"granulometry__{side}_entropy__{region}_gray"][0] == 0
    loss = 140 * len(disc(radius)) / PATCH_SIZE**2
    np.testing.assert_allclose(mine[f"granulometry__{side}_loss__patch_gray"][0], loss, rtol=1e-6)
    assert mine[f"granulometry__{side}_loss__ring_gray"][0] == 0


def test_oracle_what_scratch_held_before_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (PATCH_SIZE, PATCH_SIZE), np.uint8)
    image[:12, :12] = 255  # a square that fits only if the outside is left out
    for side, held in ((0, 0), (1, 255)):
        work = np.full((4, SIZE), held, np.uint8)
        volumes = np.zeros((len(RADII) + 1, 2), np.int32)
        load(image, side, _outside(), work[0])
        sieve(work, _outside(), volumes)
        expected = volumes_by_hand(image if side == 0 else 255 - image)[:, :2]
        pixels = np.array([PATCH_SIZE**2, (CENTER[1] - CENTER[0]) ** 2])
        np.testing.assert_array_equal(255 * pixels - volumes, expected)


@given(st.lists(st.integers(0, 2**21), min_size=2 * len(RADII) + 2, max_size=2 * len(RADII) + 2))
def test_oracle_summaries_of_any_volumes(losses: list[int]) -> None:
    halves = np.cumsum(np.array(losses).reshape(2, len(RADII) + 1), axis=1)
    volumes = np.stack([halves.sum(axis=0), halves[0]], axis=1)  # complements: they grow
    for region, sunk in enumerate((halves.sum(axis=0), halves[0], halves[1])):
        found = np.empty(len(SUMMARIES) + len(RADII))
        describe(volumes, region, 1000, found)
        np.testing.assert_allclose(found, by_formula(-sunk, 1000), rtol=1e-9, atol=1e-6)
