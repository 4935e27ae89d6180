"""A model's manifest is checked as it is read, so that nothing that shows it meets a missing field."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from signed import seal

from pcam_features.errors import InputError
from pcam_features.learn import bundle
from pcam_features.learn.base_models import MODEL_CLASSES
from pcam_features.learn.manifest import ModelManifest
from pcam_features.report.card import card
from pcam_features.report.sentences import findings
from pcam_features.storage.sums import sealed


def content_of(model: Path) -> dict[str, Any]:
    return dict(json.loads((model / "manifest.json").read_text()))


def test_invariant_a_manifest_is_written_as_it_was_read(model_folder: Path) -> None:
    text = json.dumps(sealed(bundle.read(model_folder).manifest.to_dict()), indent=2) + "\n"
    assert text == (model_folder / "manifest.json").read_text()


def places(value: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The place of every field of an object, and of those in it."""
    if not isinstance(value, dict):
        return []
    each = [[(*path, key), *places(inner, (*path, key))] for key, inner in value.items()]
    return [place for inner in each for place in inner]


def change(
    content: dict[str, Any], place: tuple[str, ...], spoil: Callable[[Any, str], object]
) -> None:
    entry = content
    for key in place[:-1]:
        entry = entry[key]
    spoil(entry, place[-1])


SPOILT: dict[str, Callable[[Any, str], object]] = {
    "missing": lambda entry, key: entry.pop(key),
    "null": lambda entry, key: entry.__setitem__(key, None),
    "a list": lambda entry, key: entry.__setitem__(key, [[]]),
    "huge": lambda entry, key: entry.__setitem__(key, 10**400),
}


@pytest.mark.parametrize("how", SPOILT)
def test_invariant_what_is_read_can_be_shown(how: str, model_folder: Path) -> None:
    whole = content_of(model_folder)
    refused = 0
    for place in places(whole):
        if place[0] in ("bundle_version", "files", "sum"):
            continue
        content = json.loads(json.dumps(whole))
        change(content, place, SPOILT[how])
        try:
            manifest = ModelManifest.from_dict(sealed(content), model_folder)
        except InputError:
            refused += 1
            continue
        assert card(manifest)
        assert findings(manifest)
    assert refused > 80


@pytest.mark.parametrize("family", ["color", "glcm"])
def test_mechanics_importance_of_each_family_is_there(family: str, model_folder: Path) -> None:
    content = content_of(model_folder)
    del content["importance"][family]
    with pytest.raises(InputError, match=rf"damaged \(importance\.{family} is missing\)"):
        ModelManifest.from_dict(sealed(content), model_folder)


def test_mechanics_a_file_without_checksum_is_refused(model_folder: Path, tmp_path: Path) -> None:
    hostile = Path(shutil.copytree(model_folder, tmp_path / "model"))
    content = content_of(hostile)
    del content["files"]["all/trees.ubj"]
    seal(hostile, content)
    with pytest.raises(InputError, match=r"all/trees\.ubj: the manifest does not list it"):
        bundle.read(hostile)


def test_invariant_every_kind_of_model_is_read_as_it_was_saved(
    model_folder: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name, model in bundle.read(model_folder).models.items():
        model_class = MODEL_CLASSES[name.rpartition("_")[2]]
        assert type(model) is model_class
        model.save(tmp_path, name)
        again = model_class.load(tmp_path, name)
        values = rng.normal(size=(5, model.width)).astype(np.float32)
        np.testing.assert_array_equal(again.margin(values), model.margin(values))
        shares, start = model.contributions(values)
        assert shares.shape == values.shape
        np.testing.assert_allclose(shares.sum(axis=1) + start, model.margin(values), atol=1e-3)
        assert again.parameters == model.parameters > 100
        gains = model.gains()
        assert gains is None or gains.shape == (model.width,)
