"""Strata are cut by ranks as SciPy gives them, and described as SciPy does by label."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from planes_of import features_of, planes_of
from scipy.stats import rankdata

from pcam_features.diagnostics.reference import strata as reference
from pcam_features.families.planes import PLANES
from pcam_features.families.strata import (
    CELLS,
    CUTS,
    FAMILY,
    INNER_CUTS,
    KEYS,
    N_CUTS,
    RANKED,
    find_starts,
)
from pcam_features.geometry import PATCH_SIZE


def test_oracle_the_library_route_has_every_column(real_batch: np.ndarray) -> None:
    named = dict(zip(PLANES, planes_of(real_batch[:1])[0], strict=True))
    assert reference.features(named).keys() == set(FAMILY.columns)


@given(
    st.lists(st.integers(0, KEYS - 1), min_size=1, max_size=12, unique=True),
    st.integers(0, 2**32 - 1),
)
def test_oracle_strata_begin_where_middle_ranks_say(levels: list[int], seed: int) -> None:
    """Any darkness of 9,216 pixels, with many ties."""
    darkness = np.random.default_rng(seed).choice(levels, CELLS)
    histograms = np.concatenate([np.bincount(darkness, minlength=KEYS), np.zeros(KEYS, int)])
    starts = np.zeros(N_CUTS, int)
    find_starts(histograms, 0, starts)
    found = (darkness[:, None] < starts).sum(axis=1)
    # In whole numbers, because a share may lie on a cut: twice the middle rank, in hundredths.
    middle = np.rint(2 * rankdata(-darkness, method="average") - 1).astype(int) * 100
    expected = (middle[:, None] >= 2 * CELLS * np.array(INNER_CUTS)).sum(axis=1)
    np.testing.assert_array_equal(found, expected)


def test_oracle_strata_of_a_ramp() -> None:
    """Columns of pixels ever brighter: a stratum's mean is that of its share of the columns."""
    ramp = np.broadcast_to(2 * np.arange(PATCH_SIZE, dtype=np.uint8)[None, :, None], (96, 96, 3))
    mine = features_of(np.ascontiguousarray(ramp)[None], "strata")
    for k in range(len(CUTS) - 1):
        first, last = (int(np.ceil(cut / 100 * PATCH_SIZE - 0.5)) for cut in CUTS[k : k + 2])
        column = f"strata__mean__patch_green_by_gray_p{CUTS[k]:02d}to{CUTS[k + 1]:02d}"
        assert mine[column][0] == 2 * np.arange(first, last).mean(), column


def test_invariant_a_constant_patch_is_the_same_in_every_stratum() -> None:
    mine = features_of(np.full((1, 96, 96, 3), (180, 120, 170), np.uint8), "strata")
    for ranked in RANKED:
        for k in range(len(CUTS) - 1):
            where = f"center_green_by_{ranked}_p{CUTS[k]:02d}to{CUTS[k + 1]:02d}"
            assert mine[f"strata__mean__{where}"][0] == 120
            assert mine[f"strata__deviation__{where}"][0] == 0


def test_invariant_darker_is_no_other_stratum(real_batch: np.ndarray) -> None:
    """A step that darkens all pixels alike moves means by that step, and deviations not at all."""
    pale = np.clip(real_batch[:4], 40, 255)
    before, after = features_of(pale, "strata"), features_of(pale - np.uint8(40), "strata")
    for column in FAMILY.columns:
        if "_red_by_gray_" in column and column.startswith("strata__mean"):
            np.testing.assert_allclose(before[column] - after[column], 40, atol=0.6, err_msg=column)
