"""Stain vectors and concentrations: the formulas with their rounding, and stains that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planes_of import features_of
from scipy.optimize import nnls
from skimage.color import rgb_from_hed

from pcam_features.diagnostics.reference.planes import regions_of
from pcam_features.families import stain_vectors
from pcam_features.families.stain import COLUMNS, PERCENTILES, STAINS
from pcam_features.families.stain_vectors import HALF_BINS, OD_BITS, SOLVE_BITS, angle_of, seek
from pcam_features.families.vectors import angle_between, diagonalize

RUIFROK = rgb_from_hed[:2] / np.linalg.norm(rgb_from_hed[:2], axis=1, keepdims=True)


def degrees_between(u: np.ndarray, v: np.ndarray) -> float:
    return float(np.degrees(2 * np.arcsin(min(np.linalg.norm(u - v) / 2, 1))))  # of unit vectors


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    return np.asarray(np.floor(values * 2.0**bits + 0.5), np.int64)


def shifted(values: np.ndarray, bits: int) -> np.ndarray:
    return np.asarray((values + 2 ** (bits - 1)) // 2**bits)


def vectors_by_hand(tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Vectors as rows and eigenvalues, largest first, from OD with 12 bits behind the point."""
    if len(tissue) < 288:
        return None
    values, axes = np.linalg.eigh(np.cov(tissue.T / 4096))
    if values[1] < 1e-4 or values[0] > 0.9 * values[1]:
        return None
    normal, mean = axes[:, 0], tissue.mean(axis=0)
    normal = normal * (1 if normal.sum() >= 0 else -1)
    along = mean - (mean @ normal) * normal
    if np.linalg.norm(along) < 0.5 * np.linalg.norm(mean):
        return None
    along /= np.linalg.norm(along)
    across = np.cross(normal, along)
    x = np.maximum(tissue @ rounded(along, 15), 0)
    y = tissue @ rounded(across, 15)
    steps = np.floor(4096 * y / np.maximum(x + abs(y), 1) + 0.5) / 4096
    angles = np.arctan2(steps, 1 - abs(steps))
    ends = np.percentile(angles, [1, 99])
    if not 5 <= np.degrees(np.ptp(ends)) <= 90:
        return None
    vectors = np.outer(np.cos(ends), along) + np.outer(np.sin(ends), across)
    return vectors[np.argsort(-vectors[:, 0])], values[::-1]


def by_hand(patch: np.ndarray) -> dict[str, float]:
    """Every column of one patch from the definitions, with the rounding they state."""
    density = np.rint(-np.log(np.maximum(patch.reshape(-1, 3), 1) / 255) * 4096).astype(np.int64)
    is_tissue = (density >= 0.15 * 4096).all(axis=1)
    known = vectors_by_hand(density[is_tissue])
    vectors, values = (RUIFROK, np.zeros(3)) if known is None else known
    found = {"separation__patch": degrees_between(*vectors), "fallback__patch": float(known is None)}
    found["second_share__patch"] = values[1] / (values.sum() or 1)
    found["off_plane__patch"] = values[2] / (values.sum() or 1)
    for stain, vector, reference in zip(STAINS, vectors, RUIFROK, strict=True):
        found[f"tilt__patch_{stain}"] = degrees_between(vector, reference)
        for color, value in zip(("red", "green", "blue"), vector, strict=True):
            found[f"{color}__patch_{stain}"] = value
    normal = np.cross(*vectors) / np.linalg.norm(np.cross(*vectors))
    amounts = shifted(density @ rounded(np.linalg.pinv(vectors), 12), 12)
    amounts = np.clip(amounts, -4096, 7 * 4096)
    away = shifted(abs(density @ rounded(normal, 15)), 16) / 2048
    split = [regions_of(each.reshape(96, 96)) for each in (*amounts.T, away, is_tissue)]
    tops = [max(np.percentile(shifted(a, 4) / 256, 99), 0.1) for a in amounts.T]
    for region in ("patch", "center", "ring"):
        h, e, residual, tissue = (each[region] for each in split)
        found[f"coverage__{region}"] = tissue.mean()
        found[f"residual__{region}"] = residual.mean()
        flat = np.ptp(h) == 0 or np.ptp(e) == 0
        found[f"correlation__{region}"] = 0 if flat else np.corrcoef(h, e)[0, 1]
        above = np.array([np.maximum(h, 0).mean(), np.maximum(e, 0).mean()])
        for name, pair in (("balance", above), ("relative_balance", above / tops)):
            found[f"{name}__{region}"] = pair[0] / pair.sum() if pair.sum() else 0.5
        for stain, a, top in zip(STAINS, (h, e), tops, strict=True):
            levels = shifted(a, 4) / 256
            plain = {"mean": a.mean() / 4096, "deviation": a.std() / 4096}
            plain |= {f"p{p:02d}": np.percentile(levels, p) for p in PERCENTILES}
            for name, value in plain.items():
                found[f"{name}__{region}_{stain}"] = value
                found[f"relative_{name}__{region}_{stain}"] = value / top
            del found[f"relative_p99__{region}_{stain}"]
            found[f"dense__{region}_{stain}"] = (levels > top / 2).mean()
    for column in [name for name in COLUMNS if "_minus_" in name]:
        name = column.removeprefix("stain__")
        center, ring = (name.replace("center_minus_ring", r) for r in ("center", "ring"))
        found[name] = found[center] - found[ring]
    return {f"stain__{name}": value for name, value in found.items()}


def test_oracle_every_column_by_its_formula(batch: np.ndarray) -> None:
    mine = features_of(batch, "stain")
    for k, patch in enumerate(batch):
        expected = by_hand(patch)
        assert expected.keys() == mine.keys()
        for column, value in expected.items():
            np.testing.assert_allclose(
                mine[column][k], value, rtol=1e-5, atol=2e-5, err_msg=f"patch {k}: {column}"
            )


def mixture(vectors: np.ndarray, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A patch stained with two stains in known amounts, some of its pixels with only one."""
    random = np.random.default_rng(3)
    amounts = random.uniform(0.1, 1.2, (96 * 96, 2))
    amounts[::20, 1] = amounts[10::20, 0] = 0
    amounts += 0.35 * (amounts == 0)[:, ::-1]  # a pixel of one stain is well stained
    light = 255 * np.exp(-strength * amounts @ vectors)
    return np.rint(light).astype(np.uint8).reshape(96, 96, 3), strength * amounts


pairs = st.tuples(*(st.floats(-0.1, 0.1) for _ in range(6))).map(
    lambda away: np.array([[0.65, 0.70, 0.30], [0.30, 0.85, 0.42]]) + np.reshape(away, (2, 3))
)


@settings(max_examples=25, deadline=None)
@given(pairs)
def test_oracle_known_stains_are_found(vectors: np.ndarray) -> None:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    patch, amounts = mixture(vectors)
    mine = {name: values[0] for name, values in features_of(patch[None], "stain").items()}
    assert mine["stain__fallback__patch"] == 0
    for stain, vector, amount in zip(STAINS, vectors, amounts.T, strict=True):
        found = [mine[f"stain__{color}__patch_{stain}"] for color in ("red", "green", "blue")]
        assert degrees_between(np.array(found), vector) < 1
        parts = regions_of(amount.reshape(96, 96))
        for region, values in parts.items():
            assert abs(mine[f"stain__mean__{region}_{stain}"] - values.mean()) < 0.04
            assert abs(mine[f"stain__p95__{region}_{stain}"] - np.percentile(values, 95)) < 0.06
    assert mine["stain__residual__patch"] < 0.01


def test_invariant_relative_columns_do_not_see_how_strong_the_stain_is() -> None:
    vectors = np.array([[0.65, 0.70, 0.29], [0.27, 0.87, 0.41]])
    weak, strong = (mixture(vectors, strength)[0] for strength in (0.9, 1.6))
    mine = features_of(np.stack([weak, strong]), "stain")
    for column, (a, b) in mine.items():
        name = column.split("__")[1]
        if name.startswith("relative_") or name in ("dense", "correlation", "separation"):
            assert abs(a - b) < (0.5 if name == "separation" else 0.03), column
        elif name in ("mean", "deviation", "p50", "p95") and "minus" not in column:
            assert b / a == pytest.approx(1.6 / 0.9, rel=0.05), column


def undetermined() -> dict[str, np.ndarray]:
    """Patches whose vectors cannot be told, each for a reason of its own."""
    random = np.random.default_rng(4)
    glass = np.full((96, 96, 3), 240, np.uint8)
    little = glass.copy()
    little[:2] = mixture(RUIFROK)[0][:2]
    ramp = np.repeat(np.linspace(40, 200, 96)[:, None, None], 96, axis=1).repeat(3, axis=2)
    ball = 255 * np.exp(-(0.8 + 0.1 * random.normal(size=(96, 96, 3))))
    narrow = 255 * np.exp(-random.uniform(1, 2, (96, 96, 2)) @ [[0.9, 1.1, 0.7], [0.07, 0, 0.08]])
    faint = 255 * np.exp(
        -0.22 - random.uniform(0, 0.03, (96, 96, 2)) @ [[1.6, 1.0, 0.6], [-0.4, 0.3, 1]]
    )
    # The mean stands steeply on the plane of what varies.
    w = 0.35 * np.array([1, 1, 1]) / 3**0.5 + 0.94 * np.array([1, 1, -2]) / 6**0.5
    steep = 255 * np.exp(-1.5 - random.uniform(-0.3, 0.3, (96, 96, 2)) @ [[0.7, -0.7, 0], w])
    kinds = random.choice(3, (96, 96), p=[0.8, 0.1, 0.1])  # nearly pure red, green and blue
    far = 255 * np.exp(-0.2 - 4 * np.eye(3)[kinds])
    patches = {"little": little, "ramp": ramp, "ball": ball}
    patches |= {"narrow": narrow, "faint": faint, "steep": steep, "far": far}
    return {name: np.rint(patch).astype(np.uint8) for name, patch in patches.items()}


@pytest.mark.parametrize("name", undetermined())
def test_oracle_fallback_is_ruifrok_and_says_so(name: str) -> None:
    patch = undetermined()[name]
    mine = {column: values[0] for column, values in features_of(patch[None], "stain").items()}
    assert mine["stain__fallback__patch"] == 1
    assert mine["stain__second_share__patch"] == mine["stain__off_plane__patch"] == 0
    density = -np.log(np.maximum(patch.reshape(-1, 3), 1) / 255)
    solved = np.clip(np.linalg.lstsq(RUIFROK.T, density.T)[0], -1, 7)
    for stain, vector, amounts in zip(STAINS, RUIFROK, solved, strict=True):
        assert mine[f"stain__tilt__patch_{stain}"] == 0
        assert mine[f"stain__green__patch_{stain}"] == pytest.approx(vector[1], abs=1e-6)
        assert mine[f"stain__mean__patch_{stain}"] == pytest.approx(amounts.mean(), abs=1e-3)


def test_oracle_fallback_is_rare_on_tissue(real_batch: np.ndarray, synthetic_batch: np.ndarray) -> None:
    for tissue in (real_batch, synthetic_batch):
        assert features_of(tissue, "stain")["stain__fallback__patch"].mean() < 0.1


def test_oracle_negative_amounts_are_rare_on_tissue(real_batch: np.ndarray) -> None:
    """Vectors at the ends of the angles leave few pixels outside: least squares is nearly nnls."""
    mine = features_of(real_batch, "stain")
    for k in range(3):
        vectors = np.array(
            [
                [mine[f"stain__{color}__patch_{stain}"][k] for color in ("red", "green", "blue")]
                for stain in STAINS
            ]
        ).astype(float)
        density = -np.log(np.maximum(real_batch[k].reshape(-1, 3), 1) / 255)
        solved = np.array([nnls(vectors.T, pixel)[0] for pixel in density[::7]]).mean(axis=0)
        for stain, mean in zip(STAINS, solved, strict=True):
            assert mine[f"stain__mean__patch_{stain}"][k] == pytest.approx(mean, abs=0.03)


def test_invariant_with_the_same_vectors_the_ring_does_not_reach_the_center() -> None:
    patch = undetermined()["ramp"]
    other = patch.copy()
    other[:16] = 255 - other[:16]
    mine = features_of(np.stack([patch, other]), "stain")
    assert (mine["stain__fallback__patch"] == 1).all()
    assert np.ptp(mine["stain__mean__ring_eosin"]) > 0
    for column, (a, b) in mine.items():
        if "__center" in column and "minus" not in column and "relative" not in column:
            assert a == b or "dense" in column, column


def test_mechanics_products_fit_into_32_bits() -> None:
    darkest = np.log(255) * 2**OD_BITS * np.sqrt(3)
    steepest = 2**SOLVE_BITS / np.sin(np.radians(stain_vectors.SEPARATIONS[0])) + 1
    assert darkest * steepest + 2**16 < 2**31
    assert darkest * (2**stain_vectors.AXIS_BITS + 1) * np.sqrt(2) < 2**31


@given(st.lists(st.tuples(*(st.integers(0, 255) for _ in range(3))), min_size=2, max_size=20))
def test_oracle_jacobi_is_eigh(pixels: list[tuple[int, ...]]) -> None:
    matrix = np.atleast_2d(np.cov(np.array(pixels, float).T))
    values, vectors = matrix.copy(), np.empty((3, 3))
    diagonalize(values, vectors)
    np.testing.assert_allclose(sorted(np.diag(values)), np.linalg.eigvalsh(matrix), atol=1e-9)
    np.testing.assert_allclose(vectors @ np.diag(np.diag(values)) @ vectors.T, matrix, atol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.data())
def test_oracle_seek_finds_what_sorting_finds(levels: list[int], data: st.DataObject) -> None:
    bins = np.bincount(levels, minlength=31)
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(levels) - 1)] * 2)))
    level, below = seek(bins, first, 0, int(bins[0]))
    assert level == sorted(levels)[first]
    assert seek(bins, second, level, below)[0] == sorted(levels)[second]


@given(st.floats(-np.pi / 2, np.pi / 2))
def test_oracle_angles_come_back_to_within_half_a_bin(angle: float) -> None:
    x, y = np.cos(angle), np.sin(angle)
    place = np.floor(y / (x + abs(y)) * HALF_BINS + HALF_BINS + 0.5)
    assert abs(np.degrees(angle_of(place) - angle)) <= 0.0141


@given(st.floats(0, np.pi), st.floats(0.1, 10))
def test_oracle_angle_between(angle: float, length: float) -> None:
    u, v = np.array([1.0, 0, 0]), length * np.array([np.cos(angle), 0, np.sin(angle)])
    assert angle_between(u, v, np.empty(3)) == pytest.approx(np.degrees(angle), abs=1e-9)
