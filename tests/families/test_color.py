"""Color statistics equal NumPy's and SciPy's on the same planes."""

from __future__ import annotations

import numpy as np
from planes_of import features_of, planes_of
from scipy.stats import kurtosis, skew

from pcam_features.diagnostics.reference.planes import regions_of
from pcam_features.families.color import PERCENTILES, STATISTICS
from pcam_features.families.planes import PLANES
from pcam_features.geometry import REGIONS


def statistics_of(values: np.ndarray) -> dict[str, float]:
    flat = values.std() == 0
    found = {
        "mean": values.mean(),
        "deviation": values.std(),
        "skewness": 0 if flat else skew(values),
        "kurtosis": 0 if flat else kurtosis(values),
    }
    percentiles = zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)
    return found | {f"p{percent:02d}": value for percent, value in percentiles}


def test_oracle_every_column_is_numpy_or_scipy(batch: np.ndarray) -> None:
    mine = features_of(batch, "color")
    checked = set()
    for k, patch in enumerate(planes_of(batch).astype(np.float64)):
        for plane, pixels in zip(PLANES, patch, strict=True):
            regions = regions_of(pixels)
            for region in REGIONS:
                for name, expected in statistics_of(regions[region]).items():
                    column = f"color__{name}__{region}_{plane}"
                    np.testing.assert_allclose(
                        mine[column][k], expected, rtol=2e-6, atol=2e-5, err_msg=column
                    )
                    checked.add(column)
            column = f"color__mean__center_minus_ring_{plane}"
            expected = regions["center"].mean() - regions["ring"].mean()
            np.testing.assert_allclose(mine[column][k], expected, atol=5e-5)
            checked.add(column)
    assert checked == set(mine)
    assert {name.split("__")[1] for name in mine} == set(STATISTICS)


def test_oracle_constant_patch_is_its_level() -> None:
    patch = np.full((1, 96, 96, 3), (180, 120, 170), np.uint8)
    mine = features_of(patch, "color")
    assert mine["color__mean__ring_green"][0] == mine["color__p05__patch_green"][0] == 120
    assert mine["color__deviation__center_red"][0] == mine["color__kurtosis__patch_blue"][0] == 0
