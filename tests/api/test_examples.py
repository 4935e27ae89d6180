"""The examples in docstrings of public functions do what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import pcam_features

PACKAGE = Path(pcam_features.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_oracle_examples_give_what_they_show(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.startswith("pcam_features.networks."):
        pytest.importorskip("torch", reason="the extra deep brings PyTorch")
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0


def test_invariant_the_public_modules_have_examples() -> None:
    api = ("comparing", "data", "features", "fitting", "model")
    public = (*(f"api.{name}" for name in api), "sklearn.classifier", "sklearn.transformers")
    assert {f"pcam_features.{name}" for name in public} < set(MODULES)
