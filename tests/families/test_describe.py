"""The description of columns: complete, and the same on disk, on the screen and in JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pcam_features.families import describe
from pcam_features.families.registry import FAMILIES

DOCS = Path(__file__).parents[2] / "docs" / "features.md"


def test_mechanics_docs_are_as_the_code_is() -> None:
    assert DOCS.read_text() == describe.markdown(), "stale: run make docs"


@pytest.mark.parametrize("family", FAMILIES)
def test_mechanics_docs_spell_every_column(family: str) -> None:
    section = describe.family_markdown(FAMILIES[family])
    spelled = set()
    for block in re.findall(r"^For (.*): (.*)\n", section, flags=re.MULTILINE):
        features = [name.strip("`") for name in block[0].split(", ")]
        if features == ["every feature"]:
            features = [feature.name for feature in FAMILIES[family].features]
        spelled |= {f"{family}__{f}__{w.strip('`')}" for f in features for w in block[1].split(", ")}
    assert spelled == set(FAMILIES[family].columns)


def test_mechanics_one_column_in_json(pcam: Any) -> None:
    found = json.loads(pcam("features", "glcm__contrast__center_gray_d2_range", "--json").out)
    assert [row["column"] for row in found] == ["glcm__contrast__center_gray_d2_range"]
    assert found[0]["low"] == 0
    assert found[0]["high"] == 31**2
    everything = json.loads(pcam("features", "--json").out)
    assert len(everything) == sum(len(family.columns) for family in FAMILIES.values())
    assert all(row["meaning"] and row["unit"] and row["source"] for row in everything)


def test_mechanics_features_on_the_screen(pcam: Any) -> None:
    assert all(name in pcam("features").out for name in FAMILIES)
    assert "homogeneity" in pcam("features", "glcm").out
    assert "numpy.std" in pcam("features", "color__deviation__ring_eosin").out


def test_mechanics_an_unknown_name_is_told_its_neighbors(pcam: Any) -> None:
    result = pcam("features", "glcm__contrast__center_grey_d2_mean")
    assert result.code == 2
    assert "glcm__contrast__center_gray_d2_mean" in result.err
    assert "families: color" in pcam("features", "zzz").err


def test_mechanics_a_column_of_an_embedding_is_told_apart(pcam: Any) -> None:
    result = pcam("features", "efficientnet_lite0_96px_4views__mean__patch_block02_0001")
    assert result.code == 2
    assert "pcam features cnn" in result.err


def test_mechanics_families_complete_after_a_comma() -> None:
    from pcam_features.cli.main import complete_family

    assert complete_family("gl")[0] == "glcm"
    assert complete_family("color,l") == ["color,lbp"]
