"""The examples in docstrings of public functions do what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

MODULES = (
    "pcam_features",
    "pcam_features.api.comparing",
    "pcam_features.api.data",
    "pcam_features.api.features",
    "pcam_features.api.messages",
    "pcam_features.api.model",
    "pcam_features.encoders.registry",
    "pcam_features.extraction.selection",
    "pcam_features.learn.estimators",
    "pcam_features.sklearn",
)


@pytest.mark.parametrize("name", MODULES)
def test_oracle_examples_give_what_they_show(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0
