"""Nuclei: every step of the segmentation and every column equals SciPy's, scikit-image's or NumPy's."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planes_of import features_of, planes_of
from scipy import ndimage
from scipy.spatial import ConvexHull, cKDTree
from skimage.filters import threshold_otsu
from skimage.measure import label as label_of
from skimage.measure import regionprops
from skimage.morphology import local_maxima, reconstruction
from sklearn.metrics import adjusted_rand_score

from pcam_features.diagnostics.reference import nuclei as reference
from pcam_features.engine import cpu
from pcam_features.engine.kernel import Kernel, device
from pcam_features.families.margins import CELLS, MARGIN, SIDE, at, clear
from pcam_features.families.nuclei import (
    DARKER,
    FAMILY,
    LARGE,
    MEASURES,
    PERCENTILES,
    SUMMARIES,
    describe,
    nearest,
    shape_of,
)
from pcam_features.families.outline import FLAGS, area_beside, measure_nucleus
from pcam_features.families.planes import PLANES
from pcam_features.families.segmentation import (
    COUNT,
    HEIGHT,
    LABEL,
    LEAST,
    LEVEL,
    LEVELS,
    LINE,
    MASK,
    MOST,
    OUTSIDE,
    PEAK,
    QUEUE,
    REACH,
    RISE,
    ROOF,
    STEPS,
    TEMP,
    TISSUE,
    fill_holes,
    find_distance,
    find_heights,
    find_levels,
    find_mask,
    flood,
    plant,
    segment,
)
from pcam_features.geometry import CENTER

PLANES_HEMATOXYLIN = PLANES.index("hematoxylin")
EIGHT = np.ones((3, 3), bool)
STAGES = ("levels", "mask", "square", "height", "roof", "seeds", "split", "label")


@device
def keep(image: Any, out: Any) -> None:
    for y in range(SIDE):
        row = image[at(y) :]
        for x in range(SIDE):
            out[y, x] = row[MARGIN + x]


@device
def all_stages(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    """What `segment` does, keeping what each step gives; then `segment` itself."""
    clear(work[HEIGHT])
    clear(work[ROOF])
    find_levels(planes[PLANES_HEMATOXYLIN], ints, work, floats[0])
    keep(work[LEVELS], out[0])
    find_mask(ints[0], work[LEVELS], work[TEMP], work[HEIGHT])
    fill_holes(ints[0], work)
    keep(work[MASK], out[1])
    find_distance(work[MASK], work[TEMP], work[LABEL])
    keep(work[LABEL], out[2])
    find_heights(table, ints[0], work)
    keep(work[HEIGHT], out[3])
    keep(work[ROOF], out[4])
    _, end = plant(work[ROOF], work[LABEL], work[QUEUE], work[STEPS])
    keep(work[LABEL], out[5])
    flood(end, work[ROOF], work[LABEL], work[QUEUE], work[STEPS])
    keep(work[LABEL], out[6])
    out[8, 0, 0] = ints[0, LEVEL]
    segment(planes, table, ints, work, floats[0])
    keep(work[LABEL], out[7])
    out[8, 0, 1] = ints[0, COUNT]


KERNEL = Kernel(
    name="nuclei_stages",
    measure=all_stages,
    shape=(len(STAGES) + 1, SIDE, SIDE),
    dtype=np.int16,
    table=FAMILY.kernel.table,
    ints=FAMILY.kernel.ints,
    floats=FAMILY.kernel.floats,
    work=FAMILY.kernel.work,
    work_dtype=FAMILY.kernel.work_dtype,
)


@pytest.fixture(scope="module")
def stages(batch: np.ndarray) -> dict[str, np.ndarray]:
    found = cpu.prepare(KERNEL)(planes_of(batch)).astype(int)
    named = {name: found[:, k] for k, name in enumerate(STAGES)}
    return named | {"threshold": found[:, -1, 0, 0], "count": found[:, -1, 0, 1]}


def paired(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two label images are the same but for the numbers."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


def test_oracle_levels_and_threshold(batch: np.ndarray, stages: dict[str, np.ndarray]) -> None:
    thresholds = features_of(batch, "nuclei")["nuclei__threshold__patch"]
    separabilities = features_of(batch, "nuclei")["nuclei__separability__patch"]
    for k, plane in enumerate(planes_of(batch)[:, PLANES_HEMATOXYLIN]):
        levels = reference.levels_of(plane)
        np.testing.assert_array_equal(stages["levels"][k], levels)
        tissue = levels[levels >= TISSUE]
        if len(tissue) == 0 or np.ptp(tissue) == 0:
            assert thresholds[k] == separabilities[k] == 0
            assert not stages["mask"][k].any()
            continue
        threshold = threshold_otsu(tissue)
        assert stages["threshold"][k] == thresholds[k] == threshold
        low, high = tissue[tissue <= threshold], tissue[tissue > threshold]
        within = (len(low) * low.var() + len(high) * high.var()) / len(tissue)
        np.testing.assert_allclose(separabilities[k], 1 - within / tissue.var(), atol=1e-6)


def test_oracle_mask(stages: dict[str, np.ndarray]) -> None:
    for levels, mask in zip(stages["levels"], stages["mask"], strict=True):
        expected = reference.mask_of(levels, reference.threshold_of(levels))
        np.testing.assert_array_equal(mask, expected)


def test_oracle_distance_and_heights(stages: dict[str, np.ndarray]) -> None:
    for k, mask in enumerate(stages["mask"]):
        square = np.full(mask.shape, REACH**2)
        if not mask.all():
            exact = np.rint(ndimage.distance_transform_edt(mask) ** 2)
            square = np.minimum(exact, REACH**2).astype(int)
        np.testing.assert_array_equal(stages["square"][k], square)
        height = (
            2 * ((reference.smooth(2 * np.rint(8 * np.sqrt(square)).astype(int)) + 16) // 32) * mask
        )
        np.testing.assert_array_equal(stages["height"][k], height)


def test_oracle_seeds_are_h_maxima(stages: dict[str, np.ndarray]) -> None:
    for k, height in enumerate(stages["height"]):
        roof = reconstruction(np.maximum(height - RISE, 0), height, footprint=EIGHT)
        np.testing.assert_array_equal(stages["roof"][k], roof)
        # The whole image may be one plateau, which scikit-image does not call a maximum.
        maxima = local_maxima(np.pad(roof, 1))[1:-1, 1:-1] & (roof >= PEAK - RISE)
        expected = label_of(maxima, connectivity=2)
        assert paired(np.where(stages["seeds"][k] > 0, stages["seeds"][k], 0), expected)


def steps_from(seed: np.ndarray, roof: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Steps from one seed to each pixel, never climbing."""
    far = roof.size
    steps = np.where(seed, 0, far)
    waiting = deque(map(tuple, np.argwhere(seed)))
    while waiting:
        y, x = waiting.popleft()
        for v in range(max(y - 1, 0), min(y + 2, SIDE)):
            for u in range(max(x - 1, 0), min(x + 2, SIDE)):
                if mask[v, u] and roof[v, u] <= roof[y, x] and steps[v, u] == far:
                    steps[v, u] = steps[y, x] + 1
                    waiting.append((v, u))
    return steps


def test_oracle_each_pixel_has_the_nearest_seed(stages: dict[str, np.ndarray]) -> None:
    for k in range(min(8, len(stages["mask"]))):
        mask, seeds, split = stages["mask"][k], stages["seeds"][k], stages["split"][k]
        expected = np.where(mask, 0, OUTSIDE)
        if seeds.max() > 0:
            each = [steps_from(seeds == s, stages["roof"][k], mask) for s in range(1, seeds.max() + 1)]
            steps = np.array(each)
            nearest_of = steps.min(axis=0)
            tied = (steps == nearest_of).sum(axis=0) > 1
            reached = nearest_of < mask.size
            expected = np.where(reached, np.where(tied, LINE, steps.argmin(axis=0) + 1), expected)
        np.testing.assert_array_equal(split, expected)
        sizes = np.bincount(split[split > 0])
        kept = np.isin(split, np.flatnonzero(sizes >= LEAST)) & (split > 0)
        label = stages["label"][k]
        np.testing.assert_array_equal(label > 0, kept)
        assert paired(np.where(kept, label, 0), np.where(kept, split, 0))
        assert label.max(initial=0) <= MOST


def hull_area(pixels: np.ndarray) -> float:
    corners = np.concatenate([pixels + np.array([dy, dx]) for dy in (0, 1) for dx in (0, 1)])
    return float(ConvexHull(corners).volume)


def one_by_one(label: np.ndarray, planes: np.ndarray) -> list[dict[str, Any]]:
    """What each nucleus measures, by scikit-image on our label image."""
    names = ("hematoxylin", "eosin", "gray", "red")
    stack = np.stack([planes[PLANES.index(name)] for name in names], axis=-1)
    found: list[dict[str, Any]] = []
    regions = regionprops(np.maximum(label, 0), stack)
    centers = np.array([region.centroid for region in regions])
    for k, region in enumerate(regions):
        own = label == region.label
        dark = stack[..., 0].astype(float)
        rim = []
        for y, x in region.coords:
            for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                v, u = y + dy, x + dx
                if not (0 <= v < SIDE and 0 <= u < SIDE) or not own[v, u]:
                    rim.append(dark[np.clip(y + 2 * dy, 0, SIDE - 1), np.clip(x + 2 * dx, 0, SIDE - 1)])
        neighbor = cKDTree(centers).query(centers[k], k=2)[0][1] if len(regions) > 1 else SIDE
        around = ndimage.binary_dilation(own, EIGHT)
        y, x = region.coords.T
        perimeter = region.perimeter_crofton
        found.append(
            {
                "area": region.area,
                "perimeter": perimeter,
                "major": region.axis_major_length,
                "minor": region.axis_minor_length,
                "eccentricity": region.eccentricity,
                "solidity": region.area / hull_area(region.coords),
                "form_factor": 4 * np.pi * region.area / perimeter**2,
                "texture": dark[own].std(),
                "contrast": dark[own].mean() - np.mean(rim),
                "neighbor": neighbor,
                **dict(zip(names, region.intensity_mean, strict=True)),
                "touching": (around & (label != region.label) & (label != 0)).any(),
                "whole": min(y.min(), x.min()) > 0 and max(y.max(), x.max()) < SIDE - 1,
                "central": all(CENTER[0] - 0.5 <= c <= CENTER[1] - 0.5 for c in region.centroid),
            }
        )
    return found


def columns_of(
    nuclei: list[dict[str, Any]], region: str, mask: np.ndarray, levels: np.ndarray
) -> dict[str, float]:
    """A region's columns, by NumPy, from what each nucleus measures."""
    inside = np.zeros(mask.shape, bool)
    inside[slice(*CENTER), slice(*CENTER)] = True
    inside = {"patch": np.ones_like(inside), "center": inside, "ring": ~inside}[region]
    wanted = {"patch": (True, False), "center": (True,), "ring": (False,)}[region]
    chosen = [n for n in nuclei if n["whole"] and n["central"] in wanted]
    found = {}
    for name, *_, ranked in MEASURES:
        values = np.array([n[name] for n in chosen] or [0.0])
        found[f"{name}_mean"], found[f"{name}_deviation"] = values.mean(), values.std()
        if ranked:
            for p in PERCENTILES:
                found[f"{name}_p{p}"] = np.percentile(values, p)
    area = np.array([n["area"] for n in chosen] or [0.0])
    stain = np.array([n["hematoxylin"] for n in chosen] or [0.0])
    bound = DARKER[0] / DARKER[1] * (levels[mask].mean() if mask.any() else 1)
    found |= {
        "count": len(chosen),
        "share": mask[inside].mean(),
        "cellularity": mask[inside].sum() / max((levels[inside] >= TISSUE).sum(), 1),
        "largest": area.max(),
        "weighted_area": (area**2).sum() / max(area.sum(), 1),
        "area_variation": area.std() / (area.mean() or 1),
        "stain_variation": stain.std() / (stain.mean() or 1),
        "large": (area >= LARGE).mean(),
        "dark": (stain > bound).mean() if chosen else 0,
        "touching": np.mean([n["touching"] for n in chosen] or [0]),
    }
    return found


def test_oracle_every_column(batch: np.ndarray, stages: dict[str, np.ndarray]) -> None:
    mine, planes = features_of(batch, "nuclei"), planes_of(batch)
    checked = {"nuclei__threshold__patch", "nuclei__separability__patch"}  # above
    for k in range(len(batch)):
        nuclei = one_by_one(stages["label"][k], planes[k])
        mask = stages["mask"][k].astype(bool)
        expected = {
            region: columns_of(nuclei, region, mask, stages["levels"][k])
            for region in ("patch", "center", "ring")
        }
        named = {
            f"nuclei__{name}__{region}": value
            for region, values in expected.items()
            for name, value in values.items()
        }
        for name in [f"{m[0]}_mean" for m in MEASURES] + [s[0] for s in SUMMARIES]:
            difference = expected["center"][name] - expected["ring"][name]
            named[f"nuclei__{name}__center_minus_ring"] = difference
        for column, value in named.items():
            np.testing.assert_allclose(
                mine[column][k], value, rtol=1e-5, atol=2e-5, err_msg=f"patch {k}: {column}"
            )
        checked |= named.keys()
    assert checked == set(FAMILY.columns)


def test_oracle_split_agrees_with_scikit_image(real_batch: np.ndarray) -> None:
    found = cpu.prepare(KERNEL)(planes_of(real_batch)).astype(int)
    mine, theirs, shared, nuclear, scores = 0, 0, 0, 0, []
    for each in found:
        mask, label = each[1].astype(bool), each[7]
        watershed = reference.split(mask)
        mine, theirs = mine + label.max(), theirs + watershed.max()
        both = (label > 0) & (watershed > 0)
        shared, nuclear = shared + both.sum(), nuclear + ((label > 0) | (watershed > 0)).sum()
        scores.append(adjusted_rand_score(label[both], watershed[both]) if both.any() else 1.0)
    assert mine > 200
    assert abs(mine - theirs) <= 0.08 * theirs
    assert shared > 0.95 * nuclear
    assert np.mean(scores) > 0.9


@given(st.integers(0, 2**32 - 1), st.integers(18, 60))
@settings(max_examples=60, deadline=None)
def test_oracle_any_shape(seed: int, steps: int) -> None:
    """Shape measures of a random walk's trail, and that flips and turns change none of them."""
    rng = np.random.default_rng(seed)
    own = np.zeros((SIDE, SIDE), int)
    own[tuple((np.cumsum(rng.integers(-1, 2, (steps, 2)), axis=0) + 48).T)] = 1
    planes = rng.integers(0, 256, (len(PLANES), SIDE, SIDE), np.uint8)
    region = regionprops(own)[0]
    kinds = {"area": 0, "perimeter": 1, "major": 2, "minor": 3, "eccentricity": 4, "solidity": 5}
    expected = {
        "area": region.area,
        "perimeter": region.perimeter_crofton,
        "major": region.axis_major_length,
        "minor": region.axis_minor_length,
        "eccentricity": region.eccentricity,
        "solidity": region.area / hull_area(region.coords),
    }
    before = None
    for turn in range(4):
        turned = np.rot90(own, turn)
        image = np.zeros(CELLS, np.int16)
        for y in range(SIDE):
            image[at(y) + MARGIN : at(y) + MARGIN + SIDE] = turned[y]
        top, left, bottom, right = regionprops(turned)[0].bbox
        cell, scratch = np.zeros(FLAGS + 1, np.int32), np.zeros(CELLS, np.int16)
        box = np.array([0, top, bottom - 1, left, right - 1])
        measure_nucleus(np.rot90(planes, turn, axes=(1, 2)), image, 1, box, scratch, cell)
        values = {name: shape_of(cell, k) for name, k in kinds.items() if region.area > 1}
        for name, value in values.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-9, atol=2e-6, err_msg=name)
        assert before is None or before == values
        before = values


@given(st.lists(st.integers(0, 90), min_size=1, max_size=20))
def test_oracle_area_beside_a_convex_chain(edge: list[int]) -> None:
    rows = len(edge)
    points = [(k + end, place) for k, place in enumerate(edge) for end in (0, 1)]
    hull = ConvexHull([*points, (0, -1), (rows, -1)]).volume - rows
    assert area_beside(np.array(edge), rows, 1, np.zeros(99, int)) == round(2 * hull)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_oracle_describe_is_numpy(values: list[float]) -> None:
    out = np.zeros(2 + len(PERCENTILES))
    describe(np.sort(values), len(values), True, out)
    expected = [np.mean(values), np.std(values), *np.percentile(values, PERCENTILES)]
    np.testing.assert_allclose(out, expected, rtol=1e-9, atol=1e-9)


def test_oracle_nearest_at_the_largest_sums() -> None:
    """Two nuclei that fill the patch's two halves: products of their sums stay whole numbers."""
    half = SIDE * SIDE // 2
    cells = np.zeros((2, FLAGS + 1), np.int32)
    low, high = sum(range(SIDE // 2)), sum(range(SIDE // 2, SIDE))
    cells[0, :3] = half, SIDE * sum(range(SIDE)) // 2, SIDE * low
    cells[1, :3] = half, SIDE * sum(range(SIDE)) // 2, SIDE * high
    assert nearest(cells, 2, 0) == SIDE / 2


def disk(patch: np.ndarray, y: int, x: int, radius: float) -> None:
    v, u = np.mgrid[:SIDE, :SIDE]
    patch[(v - y) ** 2 + (u - x) ** 2 <= radius**2] = (90, 40, 140)


def glass() -> np.ndarray:
    return np.full((SIDE, SIDE, 3), (235, 190, 215), np.uint8)


def test_oracle_drawn_disks_are_counted() -> None:
    patch = glass()
    places = [(20, 20), (20, 60), (48, 48), (44, 52 + 6), (75, 30), (75, 70), (3, 40)]
    for y, x in places:
        disk(patch, y, x, 5)
    found = {name: values[0] for name, values in features_of(patch[None], "nuclei").items()}
    assert found["nuclei__count__patch"] == 6  # the border cuts the last
    assert found["nuclei__count__center"] == 2
    assert found["nuclei__touching__center"] == 1
    assert found["nuclei__touching__ring"] == 0
    np.testing.assert_allclose(found["nuclei__neighbor_mean__center"], np.hypot(4, 10), atol=1.5)


def test_invariant_center_hangs_on_the_ring_by_the_threshold_alone() -> None:
    """A nucleus that moves along the ring changes no threshold, and so nothing of the center."""
    before, after = glass(), glass()
    for patch, x in ((before, 20), (after, 70)):
        disk(patch, 8, x, 4)
        disk(patch, 45, 45, 5)
    one, other = features_of(before[None], "nuclei"), features_of(after[None], "nuclei")
    same = [c for c in one if c.endswith("__center") and "neighbor" not in c]
    assert one["nuclei__count__center"][0] == 1
    for column in same:
        np.testing.assert_array_equal(one[column], other[column], err_msg=column)
    darker = before.copy()
    disk(darker, 8, 20, 4)
    darker[2:14, 14:27] //= 2
    assert (
        features_of(darker[None], "nuclei")["nuclei__threshold__patch"]
        != one["nuclei__threshold__patch"]
    )


def test_mechanics_as_many_nuclei_as_fit() -> None:
    patch = glass()
    for y in range(3, SIDE, 6):
        for x in range(3, SIDE, 6):
            disk(patch, y, x, 2.3)
    found = features_of(patch[None], "nuclei")
    assert found["nuclei__count__patch"][0] == 15**2  # the border cuts the rest
    assert found["nuclei__neighbor_mean__patch"][0] == pytest.approx(6, rel=1e-3)
