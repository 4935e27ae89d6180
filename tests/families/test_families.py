"""What holds for every family and column."""

from __future__ import annotations

import importlib
import re
from types import SimpleNamespace

import numpy as np
import pytest
from planes_of import features_of, planes_of

from pcam_features.engine import cpu
from pcam_features.engine.kernel import LANES
from pcam_features.errors import PcamError
from pcam_features.families import planes
from pcam_features.families.registry import FAMILIES, chosen, measurer

NAME = re.compile(r"[a-z]+__[a-z0-9_]+?__[a-z0-9_]+")


@pytest.mark.parametrize("family", FAMILIES)
def test_mechanics_columns_are_named_and_unique(family: str) -> None:
    columns = FAMILIES[family].columns
    assert len(set(columns)) == len(columns)
    for column in columns:
        assert NAME.fullmatch(column), column
        assert column.startswith(f"{family}__")


@pytest.mark.parametrize("family", FAMILIES)
def test_oracle_library_route(family: str, batch: np.ndarray) -> None:
    reference = importlib.import_module(f"pcam_features.diagnostics.reference.{family}")
    mine = features_of(batch, family)
    for k, planes_of_one in enumerate(planes_of(batch)):
        named = {name: planes_of_one[planes.PLANES.index(name)] for name in reference.PLANES}
        expected = reference.features(named)
        assert expected.keys() <= mine.keys()
        assert expected
        for column, value in expected.items():
            np.testing.assert_allclose(
                mine[column][k], value, **reference.TOLERANCE, err_msg=f"patch {k}: {column}"
            )


@pytest.mark.parametrize("family", FAMILIES)
def test_invariant_values_lie_in_their_range(family: str, batch: np.ndarray) -> None:
    for column, values in features_of(batch, family).items():
        low, high = FAMILIES[family].limits(column)
        assert low <= values.min(), column
        assert values.max() <= high, column


@pytest.mark.parametrize("family", FAMILIES)
def test_mechanics_every_feature_has_a_column(family: str) -> None:
    known = [feature.name for feature in FAMILIES[family].features]
    assert {column.split("__")[1] for column in FAMILIES[family].columns} == set(known)
    assert len(set(known)) == len(known)


@pytest.mark.parametrize("family", FAMILIES)
def test_invariant_flips_and_quarter_turns_change_nothing(family: str, batch: np.ndarray) -> None:
    original = features_of(batch, family)
    for turned in (
        batch[:, ::-1],
        batch[:, :, ::-1],
        np.rot90(batch, 1, axes=(1, 2)),
        np.rot90(batch, 2, axes=(1, 2)),
        batch.transpose(0, 2, 1, 3),
    ):
        for column, values in features_of(np.ascontiguousarray(turned), family).items():
            np.testing.assert_array_equal(values, original[column], err_msg=column)


@pytest.mark.parametrize("family", FAMILIES)
def test_invariant_values_are_finite(family: str, batch: np.ndarray) -> None:
    for column, values in features_of(batch, family).items():
        assert np.isfinite(values).all(), column
        assert values.dtype == np.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_invariant_no_patch_sees_its_neighbors(family: str, batch: np.ndarray) -> None:
    whole, alone = features_of(batch, family), features_of(batch[3:4], family)
    for column, values in alone.items():
        assert values[0] == whole[column][3], column


# The center measured with what the whole patch gives: stain vectors, and the nuclei's threshold.
BY_THE_WHOLE_PATCH = ("stain", "nuclei")


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in BY_THE_WHOLE_PATCH])
def test_invariant_the_ring_does_not_reach_center_columns(
    family: str, synthetic_batch: np.ndarray
) -> None:
    other = synthetic_batch.copy()
    other[:, :16] = 255 - other[:, :16]  # farther from the center than any feature looks
    before, after = features_of(synthetic_batch, family), features_of(other, family)
    for column in before:
        where = column.split("__")[2].split("_")
        if where[0] == "center" and "minus" not in where:
            np.testing.assert_array_equal(before[column], after[column], err_msg=column)
        elif where[0] == "ring" and column.endswith("d1_mean"):
            assert (before[column] != after[column]).any(), column


def test_mechanics_scratch_fits_a_48_kb_card() -> None:
    for kernel in [planes.KERNEL, *(family.kernel for family in FAMILIES.values())]:
        bytes_needed = 4 * int(np.prod(kernel.ints)) + 8 * int(np.prod(kernel.floats))
        assert bytes_needed <= 48 * 1024, kernel.name
    assert LANES % 32 == 0


def test_mechanics_a_batch_too_large_for_the_card_is_halved(synthetic_batch: np.ndarray) -> None:
    """The CPU, with as little memory as a card that holds five patches."""
    fitting = 5

    class LittleCard(SimpleNamespace):
        def out_of_memory(self) -> tuple[type[BaseException], ...]:
            return (MemoryError,)

        def to_device(self, batch: np.ndarray) -> np.ndarray:
            if len(batch) > fitting:
                raise MemoryError
            return batch

    names = ("prepare", "compile_ahead", "batch_rows", "batch_stream", "to_host", "release")
    card = LittleCard(NAME="card", **{name: getattr(cpu, name) for name in names})
    measured = measurer([FAMILIES["color"]], card)(synthetic_batch, ["color"])["color"]
    expected = measurer([FAMILIES["color"]], cpu)(synthetic_batch, ["color"])["color"]
    np.testing.assert_array_equal(measured, expected)
    fitting = 0
    with pytest.raises(PcamError, match="--device cpu"):
        measurer([FAMILIES["color"]], card)(synthetic_batch, ["color"])


def test_mechanics_families_are_chosen_in_the_catalogs_order() -> None:
    assert [family.name for family in chosen("lbp, color")] == ["color", "lbp"]
    assert [family.name for family in chosen(None)] == list(FAMILIES)
